"""MonoT5: an encoder-decoder is asked whether a document is relevant, and answers with a word."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from mechir_edu.collection.given import checked_text
from mechir_edu.rankers.base import BATCH_SIZE, Inputs, PromptsAround
from mechir_edu.rankers.checkpoint import loading
from mechir_edu.rankers.checkpoint.cross_loading import require_room
from mechir_edu.rankers.checkpoint.lengths import is_whole
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer
from mechir_edu.rankers.encoder_decoders import T5Adapter
from mechir_edu.rankers.joint import JointRanker
from mechir_edu.rankers.pooling import Hidden, Mask, RowsRead
from mechir_edu.rankers.stacks import Stack
from mechir_edu.rankers.verification import QUERY, wrap
from mechir_edu.rankers.yes_no import PROBES, AnswerHead, Asked, answer_ids, take_template

QUESTION = "Query: {query} Document: {document} Relevant:"
# Each text is tokenised by itself, and T5's tokenizer begins each with a space.
PROMPTS = PromptsAround(query="Query: ", document="", behind=" Document:")
USUAL_LENGTH = 512  # of the texts that T5 and MonoT5 were trained on
# The words that checkpoints were trained to answer with, (relevant, not relevant), by the beginning
# of their names: the facts of pygaggle's table.
ANSWERS = {
    "monot5-": ("▁true", "▁false"),
    "mt5-3B-mmarco": ("▁true", "▁"),
    "mt5-13b-mmarco": ("▁true", "▁"),
    "mt5-base-mmarco": ("▁yes", "▁no"),
    "mt5-base-en": ("▁yes", "▁no"),
    "ptt5-base-": ("▁sim", "▁não"),
}


@dataclass(frozen=True, eq=False)
class WordHead(AnswerHead):
    """What makes a score of the decoder's one step; see `AnswerHead`.

    Attributes
    ----------
    scale : by which the model multiplies its final hidden states.
    """

    scale: float = 1.0

    rows: ClassVar[RowsRead] = "all"

    def scores(self, hidden: Hidden, mask: Mask) -> Float[Tensor, " pair"]:
        """Relevance scores from the final hidden state of the decoder's step."""
        return super().scores(hidden * self.scale, mask)


def load_parts(
    name: str, true_token: str | int | None, false_token: str | int | None
) -> tuple[nn.Module, PreTrainedTokenizerBase, str, WordHead]:
    """Model, tokenizer, checksum and head of a MonoT5: a folder, or a hub id."""
    folder = loading.model_folder(name, "monot5")
    words = answers_of(name, true_token, false_token)
    tokenizer = load_tokenizer(folder)
    tokenizer.model_max_length = min(tokenizer.model_max_length, USUAL_LENGTH)
    tokenizer.truncation_side = "right"
    ids = answer_ids(words, tokenizer, len(tokenizer))
    take_prompts(tokenizer, folder)
    model = loading.load_encoder_decoder(folder)
    head = WordHead(model.lm_head, ids, None, T5Adapter.output_scale(model.config))
    return model, tokenizer, loading.checkpoint_sha256(folder), head


def take_prompts(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Let a tokenizer write the end of MonoT5's question behind every pair, and never cut it.

    Raises
    ------
    ValueError
        For a tokenizer that reads the parts of the question otherwise than the whole.
    """
    asked = [QUESTION.format(query=query, document=text) for query, text in PROBES]
    wholes = [tokenizer(text, truncation=False)["input_ids"] for text in asked]
    template = f"{PROMPTS.query}{{query}}{PROMPTS.behind}{{document}} Relevant:"
    take_template(tokenizer, folder, Asked(template=template + (tokenizer.eos_token or "")), "")
    for (query, text), whole in zip(PROBES, wholes, strict=True):
        parts = tokenizer(f"{PROMPTS.query}{query}{PROMPTS.behind}", text, truncation=False)
        if parts["input_ids"] != whole:
            raise ValueError(
                f"the tokenizer of {folder.name} joins tokens across the prompts of "
                f"{QUESTION.format(query=query, document=text)!r}; needed one that splits a text "
                "at its spaces and ends it with </s>, as the tokenizer of T5 does"
            )


def answers_of(
    name: str, true_token: str | int | None, false_token: str | int | None
) -> tuple[str | int, str | int]:
    """Words or ids of *relevant* and *not relevant*: those given, or those of a known checkpoint.

    Raises
    ------
    ValueError
        Where none are known and not both are given.

    Examples
    --------
    >>> answers_of("castorini/monot5-base-msmarco", None, None)
    ('▁true', '▁false')
    """
    if true_token is not None and false_token is not None:
        return _word(true_token, "true_token"), _word(false_token, "false_token")
    last = Path(name.partition("@")[0]).name
    known = next((words for start, words in ANSWERS.items() if last.startswith(start)), None)
    if known is None or (true_token, false_token) != (None, None):
        raise ValueError(
            f"nothing says by which words {last} answers; pass both true_token= and false_token=, "
            "such as 'true' and 'false' (known by name are checkpoints that begin with "
            f"{', '.join(ANSWERS)})"
        )
    return known


def _word(token: str | int, what: str) -> str | int:
    return int(token) if is_whole(token) else checked_text(token, what)


class MonoT5Encoder(JointRanker):
    """MonoT5: T5 is asked whether a document is relevant; the score is made of its answer's logits.

    The text is ``Query: {query} Document: {document} Relevant:``; the decoder takes one step. The
    score is the logit of the word for *relevant* minus that of the word for *not relevant*. Both
    words' softmax, by which MonoT5 was trained and is ranked, sees only this difference, and is
    flat where the model is sure: `log_probability` gives it.

    It has three attentions, each with results of its own: ``stack="encoder"`` (the default),
    ``"decoder"`` (the decoder's own, of a single step) and ``"cross"`` (by which that step reads
    the text); see `mechir_edu.rankers.encoder_decoders`.

    Parameters
    ----------
    name : a local folder, or a hub id, of T5, Flan-T5 or mT5.
    true_token, false_token : the words, pieces such as ``"▁true"``, or ids of tokens that stand for
        *relevant* and *not relevant*. Known by name for the checkpoints of castorini and unicamp-dl
        that pygaggle lists.
    max_length : longest sequence in tokens; the document alone is cut, never the prompts.
    device, verify : as for `me.Dot`.

    Raises
    ------
    FileNotFoundError, ImportError, TypeError, ValueError, RuntimeError
        As for `me.Dot`; a ValueError also where the words are not known or no single tokens.

    Sources
    -------
    R. Nogueira, Z. Jiang, R. Pradeep, J. Lin: Document Ranking with a Pretrained Sequence-to-
    Sequence Model. Findings of EMNLP 2020, arXiv:2003.06713.
    """

    kind, kind_name = "monot5", "MonoT5 ranker"

    def __init__(
        self,
        name: str | Path,
        *,
        true_token: str | int | None = None,
        false_token: str | int | None = None,
        max_length: int | None = None,
        device: str = "auto",
        verify: bool = True,
    ) -> None:
        name = loading.checked_name(name)
        model, tokenizer, checksum, self.head = load_parts(name, true_token, false_token)
        self.prompts = PROMPTS
        super().__init__(
            name, model, tokenizer, checksum=checksum, max_length=max_length, device=device
        )
        require_room(self, QUERY)
        wrap(self, verify=verify)

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The encoder, the decoder's own attention, and its attention to the encoder."""
        return T5Adapter.stacks(self.hf_model.config)

    @property
    def engine(self) -> Literal["encoder-decoder"]:  # noqa: D102
        return "encoder-decoder"

    @property
    def settings(self) -> dict[str, str | int]:
        """Also the words, which the checkpoint's name may have given."""
        words = self.tokenizer.convert_ids_to_tokens(list(self.head.answers))
        return super().settings | dict(zip(("true_token", "false_token"), words, strict=True))

    def counts(self, inputs: Inputs) -> Int[Tensor, "pair 1"]:
        """The decoder's one row."""
        return torch.ones_like(inputs["attention_mask"][:, :1])

    def output(self, hidden: Hidden, attention_mask: Mask) -> Float[Tensor, " pair"]:
        """Relevance scores from the final hidden state of the decoder's step."""
        return self.head.scores(hidden, attention_mask)

    def publisher_output(self, inputs: Inputs) -> Float[Tensor, " pair"]:  # noqa: D102
        start = self.family.start(self.hf_model, inputs["input_ids"])
        read = self.hf_model(**inputs, decoder_input_ids=start, use_cache=False).logits
        return self.head.published(read, self.counts(inputs))

    def log_probability(
        self, query: str, texts: str | Sequence[str], *, batch_size: int = BATCH_SIZE
    ) -> Float[np.ndarray, " text"]:
        """What MonoT5 is ranked by: the log-softmax of *relevant* over both words, at most 0.

        It is the log-sigmoid of `score`, and so ranks alike.
        """
        scores = torch.from_numpy(self.score(query, texts, batch_size=batch_size))
        return torch.nn.functional.logsigmoid(scores).numpy()
