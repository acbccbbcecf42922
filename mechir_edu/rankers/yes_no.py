"""Rerankers that answer: a language model reads query and document, and says yes or no.

The score is how much likelier one answer is than the other, at the last token of a prompt: the
difference of two logits. The prompt is a chat template that names the roles "query" and "document",
as sentence-transformers 6 stores it, or a text with {query} and {document} in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from tokenizers import processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from mechir_edu.rankers.base import Inputs, Prompts, PromptsAround
from mechir_edu.rankers.checkpoint.lengths import is_whole
from mechir_edu.rankers.checkpoint.settings import stated_modules, transformer_settings
from mechir_edu.rankers.checkpoint.stored import Rule, obey, read_object, shown, whole
from mechir_edu.rankers.pooling import Hidden, Mask, RowsRead, last_token

MARKS = "\ue000", "\ue001"  # stand for query and document while a chat template is read
LOGIT_SCORE: dict[str, Rule] = {
    "true_token_id": "obeyed",
    "false_token_id": "obeyed",
    "module_input_name": ("causal_logits",),
}
PROBES = (
    ("coral reef", "The reef is full of fish."),
    ("what is a reef?", '"Reefs (of coral)" are full'),
    ("3.5 e-mail", "1,000 fish"),
)


@dataclass(frozen=True)
class Asked:
    """What a caller says about the answers, where a checkpoint does not.

    Attributes
    ----------
    true_token, false_token : answers, by their text or id; without the second the score is the
        logit of the first.
    template : the prompt, with {query} and {document} in it.
    readout : "query likelihood", or None for answers (`mechir_edu.rankers.likelihood`).
    """

    true_token: str | int | None = None
    false_token: str | int | None = None
    template: str | None = None
    readout: str | None = None

    @property
    def settings(self) -> dict[str, str | int]:
        """Those that were given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class AnswerHead:
    """What makes a score of a language model's final hidden states.

    Attributes
    ----------
    lm_head : of the model; the rows of the answers are read, never the whole vocabulary.
    answers : id of the token that means *relevant* and, if there is one, of its opposite.
    softcap : the bound of the model's logits, or None.
    """

    lm_head: nn.Linear
    answers: tuple[int, ...]
    softcap: float | None

    rows: ClassVar[RowsRead] = "last"
    modules: ClassVar[nn.Sequential] = nn.Sequential()  # it has no weights of its own

    def counts(self, inputs: Inputs) -> Mask:
        """Rows of real tokens, the last of which is read."""
        return inputs["attention_mask"]

    def scores(self, hidden: Hidden, mask: Mask) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states and the mask of real tokens."""
        rows = list(self.answers)
        bias = None if self.lm_head.bias is None else self.lm_head.bias[rows]
        logits = F.linear(last_token(hidden, mask), self.lm_head.weight[rows], bias)
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return _difference(logits)

    def published(self, read: Float[Tensor, "pair pos word"], mask: Mask) -> Float[Tensor, " pair"]:
        """The same from all logits of the Hugging Face model."""
        return _difference(last_token(read, mask)[:, list(self.answers)])


def _difference(logits: Float[Tensor, "pair answer"]) -> Float[Tensor, " pair"]:
    return logits[:, 0] - logits[:, 1] if logits.shape[1] == 2 else logits[:, 0]


def answers_of(folder: Path, asked: Asked) -> tuple[str | int, ...]:
    """Answers of a checkpoint, as its ``modules.json`` or the caller says; () for no such ranker.

    Raises
    ------
    ValueError
        For a setting that is not obeyed, or a template or a second answer without a first.
    """
    given = (asked.true_token, asked.false_token)
    if given[0] is None and (given[1] is not None or asked.template is not None):
        raise ValueError("needed true_token=, the answer that means relevant, beside the others")
    if given[0] is not None:
        return tuple(token for token in given if token is not None)
    modules = stated_modules(folder)
    if [module.name for module in modules] != ["Transformer", "LogitScore"]:
        return ()
    where = f"{modules[1].folder.name}/config.json of {folder.name}"
    stated = read_object(modules[1].folder / "config.json")
    obey(where, stated, LOGIT_SCORE)
    names = ["true_token_id"]
    names += ["false_token_id"] if stated.get("false_token_id") is not None else []
    return tuple(whole(stated.get(name), f"{name} in {where}", least=0) for name in names)


def read_answer_head(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, answers: tuple[str | int, ...]
) -> AnswerHead:
    """Find the answers in the vocabulary; see `answer_ids`."""
    ids = answer_ids(answers, tokenizer, model.lm_head.weight.shape[0])
    cap = getattr(model.config, "final_logit_softcapping", None)
    return AnswerHead(model.lm_head, ids, cap)


def answer_ids(
    answers: Sequence[str | int], tokenizer: PreTrainedTokenizerBase, n_known: int
) -> tuple[int, ...]:
    """Ids of answers, each a word, a piece as the vocabulary has it ("▁true"), or an id.

    Raises
    ------
    ValueError
        For an answer that is no single token, that the tokenizer does not know, an id of
        ``n_known`` or more, or twice the same.
    """
    ids = tuple(_token_id(answer, tokenizer, n_known) for answer in answers)
    if len(set(ids)) < len(ids):
        raise ValueError(f"needed two different answers, got {list(answers)}")
    return ids


def _token_id(answer: str | int, tokenizer: PreTrainedTokenizerBase, n_known: int) -> int:
    if is_whole(answer) and 0 <= int(answer) < n_known:
        return int(answer)
    pieces: list[str] = []
    if isinstance(answer, str):
        is_piece = answer.startswith("▁") and answer in tokenizer.get_vocab()
        pieces = [answer] if is_piece else tokenizer.tokenize(answer)
    ids = tokenizer.convert_tokens_to_ids(pieces)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ValueError(
            f"needed an answer that is one token, or an id below {n_known}, got {answer!r}, which "
            f"the tokenizer reads as {pieces}; a word after a space may be another token than alone"
        )
    return ids[0]


def take_template(
    tokenizer: PreTrainedTokenizerBase, folder: Path, asked: Asked, instruction: str
) -> Prompts | PromptsAround:
    """Let a tokenizer write a template's end behind every pair; gives the texts before it.

    What stands behind the document is special to the tokenizer from now on, so that no text that
    is too long is cut there. The space before the document goes with it, because byte-level
    tokenizers glue it to the next word.

    Parameters
    ----------
    tokenizer : is changed.
    folder : of the checkpoint.
    asked : its template comes before the checkpoint's.
    instruction : the checkpoint's default prompt, a message of the role "system".

    Raises
    ------
    ValueError
        For a template without query and document, or that does not give them back as they are.
    """
    text, is_stored = asked.template, asked.template is None
    if text is None:
        if not tokenizer.chat_template:
            return Prompts(query=instruction)
        text = _rendered(tokenizer, folder, MARKS, instruction)
    marks = MARKS if is_stored else ("{query}", "{document}")
    if [text.count(mark) for mark in marks] != [1, 1] or text.index(marks[0]) > text.index(
        marks[1]
    ):
        raise ValueError(
            f"the template of {folder.name} does not hold one query and, behind it, one document; "
            "needed a chat template with the roles 'query' and 'document', or pass template= with "
            "{query} and {document} in it"
        )
    before, _, rest = text.partition(marks[0])
    middle, _, end = rest.partition(marks[1])
    behind = middle.rstrip(" ")
    prompts = PromptsAround(query=before, document=middle[len(behind) :], behind=behind)
    ids = tokenizer(end, add_special_tokens=False)["input_ids"]
    piece = {"id": "end", "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A",
        pair="$A:0 $B:0 end:0" if ids else "$A:0 $B:0",
        special_tokens=[piece][: len(ids)],
    )
    if is_stored:
        for query, document in PROBES:
            whole_text = _rendered(tokenizer, folder, (query, document), instruction)
            needed = tokenizer(whole_text, add_special_tokens=False)["input_ids"]
            got = tokenizer(f"{before}{query}{behind}", prompts.document + document)["input_ids"]
            if got != needed:
                raise ValueError(
                    f"the chat template of {folder.name} makes other tokens of a text than its "
                    "parts do, so roles of tokens are not known; pass it as template="
                )
    return prompts


def _rendered(
    tokenizer: PreTrainedTokenizerBase, folder: Path, texts: tuple[str, str], instruction: str
) -> str:
    messages = [{"role": "system", "content": instruction}] if instruction else []
    messages += [
        {"role": role, "content": text}
        for role, text in zip(("query", "document"), texts, strict=True)
    ]
    options = _chat_options(transformer_settings(folder), folder)
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def _chat_options(stated: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a chat template is called with, as stored; anything else there is refused."""
    processing = stated.get("processing_kwargs") or {}
    options = processing.get("chat_template", {}) if isinstance(processing, dict) else None
    known = ("add_generation_prompt", "enable_thinking", "instruction", "restore_suffix")
    if not isinstance(options, dict) or {*processing} - {"chat_template"} or {*options} - {*known}:
        raise ValueError(
            f"processing_kwargs of {folder.name} are {shown(processing)}; only chat_template is "
            f"obeyed, with {', '.join(known)}"
        )
    return {name: value for name, value in options.items() if name != "restore_suffix"}
