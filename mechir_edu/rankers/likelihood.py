"""Query likelihood: a language model reads a passage, and scores by how well it foresees the query.

The score is the mean log-probability of the query's tokens behind the passage, natural logarithm,
never above 0; larger is more relevant. Any causal model can be read so, untrained for ranking.

Which tokens are the query's: all from the first one that holds more of it than white space. Where a
tokenizer makes one token of a space and the word behind it (" coral"), that token is foreseen,
because it holds characters of the query. A token of white space alone before the query belongs to
the template, and is given.

Sources
-------
J. Ponte, W. B. Croft: A Language Modeling Approach to Information Retrieval. SIGIR 1998.
D. S. Sachan, M. Lewis, M. Joshi, A. Aghajanyan, W. Yih, J. Pineau, L. Zettlemoyer: Improving
Passage Retrieval with Zero-Shot Question Generation. EMNLP 2022, arXiv:2204.07496 (UPR: the mean
log-probability of a query's tokens given the passage).
S. Zhuang, B. Liu, B. Koopman, G. Zuccon: Open-source Large Language Models are Strong Zero-shot
Query Likelihood Models for Document Ranking. Findings of EMNLP 2023, arXiv:2310.13243 (decoders).
Their prompts differ, and may be given as ``template``.
"""

from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from mechir_edu.rankers.base import Inputs, Prompts
from mechir_edu.rankers.pooling import Hidden, Mask, RowsRead
from mechir_edu.rankers.yes_no import PROBES

LIKELIHOOD = "query likelihood"
TEMPLATE = "Passage: {document}\nQuery: {query}"


@dataclass(frozen=True, eq=False)
class LikelihoodHead:
    """What makes a score of a language model's final hidden states, and of the query's tokens.

    Attributes
    ----------
    lm_head : of the model.
    between : token ids of the template's words between passage and query.
    blank : ids of all tokens that are white space alone.
    softcap : the bound of the model's logits, or None.
    """

    lm_head: nn.Linear
    between: tuple[int, ...]
    blank: tuple[int, ...]
    softcap: float | None

    rows: ClassVar[RowsRead] = "all"
    modules: ClassVar[nn.Sequential] = nn.Sequential()  # it has no weights of its own

    @property
    def shortest(self) -> tuple[int, ...]:
        """Token ids of the shortest sequence that has a score."""
        return (*self.between, next(i for i in count() if i not in self.blank))

    def counts(self, inputs: Inputs) -> Mask:
        """What each row has to foresee: 1 + the id of a query token, or 0 for nothing.

        A query token is foreseen by the last row before it that is attended to.

        Raises
        ------
        ValueError
            Where passage and query cannot be told apart, or a query is white space alone.
        """
        ids, is_read = inputs["input_ids"], inputs["attention_mask"] == 1
        at = torch.arange(ids.shape[1], device=ids.device)
        is_between = at < self._between_ends(ids).unsqueeze(1)
        is_blank = torch.isin(ids, torch.tensor(self.blank, device=ids.device))
        has_begun = (is_between | is_blank | ~is_read).cumprod(dim=1) == 0
        is_query = has_begun & is_read
        if not is_query.any(dim=1).all():
            raise ValueError("needed a query of at least one token, got white space alone")
        seen = torch.where(is_read, at, 0).cummax(dim=1).values
        pair, pos = is_query.nonzero(as_tuple=True)
        foreseen = torch.zeros_like(ids)
        foreseen[pair, seen[pair, pos - 1]] = ids[pair, pos] + 1
        return foreseen

    def exchangeable(self, inputs: Inputs) -> Mask:
        """Rows of the passage and its prompt, whose tokens may be any."""
        ids = inputs["input_ids"]
        end = self._between_ends(ids) - len(self.between)
        return (torch.arange(ids.shape[1], device=ids.device) < end.unsqueeze(1)).long()

    def scores(self, hidden: Hidden, foreseen: Mask) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states and what `counts` gives."""
        logits = self.lm_head(hidden[foreseen > 0])
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return _mean_log_p(logits, foreseen)

    def published(
        self, read: Float[Tensor, "pair pos word"], foreseen: Mask
    ) -> Float[Tensor, " pair"]:
        """The same from all logits of the Hugging Face model."""
        return _mean_log_p(read[foreseen > 0], foreseen)

    @staticmethod
    def probability(scores: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
        """Geometric mean of the probabilities of the query's tokens."""
        return np.exp(scores)

    def _between_ends(self, ids: Tensor) -> Tensor:
        """Position behind the template's words between passage and query, [pair]."""
        between = torch.tensor(self.between, device=ids.device)
        padded = torch.nn.functional.pad(ids, (0, len(between)), value=-1)
        is_between = (padded.unfold(1, len(between), 1) == between).all(dim=-1)
        if (times := is_between.sum(dim=1).unique()).tolist() != [1]:
            raise ValueError(
                f"the template's tokens {list(self.between)} between passage and query stand "
                f"{' or '.join(map(str, times.tolist()))} times in a text, so that the query "
                "cannot be told; needed once: pass a template= whose words no text holds"
            )
        return is_between.long().argmax(dim=1) + len(between)


def _mean_log_p(logits: Float[Tensor, "row word"], foreseen: Mask) -> Float[Tensor, " pair"]:
    rows = foreseen > 0
    words = foreseen[rows].unsqueeze(1) - 1
    log_p = logits.log_softmax(dim=-1).gather(1, words)[:, 0]
    total = log_p.new_zeros(len(foreseen)).index_add(0, rows.nonzero()[:, 0], log_p)
    return total / rows.sum(dim=1)


def take_likelihood(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, template: str | None
) -> tuple[Prompts, LikelihoodHead]:
    """Let a tokenizer write passage and query in a template; gives the texts before either.

    What the tokenizer writes before a text, such as <s>, stays there; what it writes behind a text
    is left out, because a causal model has read the query by then.

    Parameters
    ----------
    model : a ``*ForCausalLM``.
    tokenizer : is changed.
    template : with {document} and, at its end, {query}; `TEMPLATE` when None.

    Raises
    ------
    ValueError
        For a template without them, or whose parts have other tokens than the whole.
    """
    template = TEMPLATE if template is None else template
    marks = ("{document}", "{query}")
    before, _, rest = template.partition(marks[0])
    between = rest.removesuffix(marks[1])
    is_understood = [template.count(mark) for mark in marks] == [1, 1] and rest != between
    if not is_understood or not between.strip():
        raise ValueError(
            "query likelihood needs a template with one {document}, words behind it, and at its "
            f"very end one {{query}}, because nothing behind the query is read; got {template!r}"
        )
    marker = between.rstrip(" ")  # a space is glued to the next word
    ids = tokenizer(marker, add_special_tokens=False)["input_ids"]
    written = tokenizer("a")
    lead = written["input_ids"][: written.sequence_ids(0).index(0)]
    plain = [
        lead + tokenizer(_filled(template, *texts), add_special_tokens=False)["input_ids"]
        for texts in PROBES
    ]
    piece = {"id": "lead", "ids": lead, "tokens": tokenizer.convert_ids_to_tokens(lead)}
    first = "lead:0 " if lead else ""
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first}$A:0", pair=f"{first}$B:0 $A:0", special_tokens=[piece][: len(lead)]
    )
    cap = getattr(model.config, "final_logit_softcapping", None)
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    blank = tuple(i for i, text in enumerate(texts) if not text.strip())
    head = LikelihoodHead(model.lm_head, tuple(ids), blank, cap)
    for (query, document), needed in zip(PROBES, plain, strict=True):
        got = tokenizer(between + query, before + document)["input_ids"]
        if got != needed:
            raise ValueError(
                f"the template {template!r} has other tokens than its parts, so that roles of "
                "tokens are not known; pass a template= with a line break before the query's words"
            )
        head.counts({"input_ids": torch.tensor([got]), "attention_mask": torch.ones(1, len(got))})
    return Prompts(query=between, document=before), head


def _filled(template: str, query: str, document: str) -> str:
    return template.replace("{document}", document).replace("{query}", query)
