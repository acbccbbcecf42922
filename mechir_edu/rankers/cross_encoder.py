"""Cross-encoders: query and document are read together, and the score is made of logits."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mechir_edu.rankers.base import Inputs
from mechir_edu.rankers.checkpoint.cross_loading import load_parts, require_room
from mechir_edu.rankers.checkpoint.labels import relevant_label, score_of
from mechir_edu.rankers.checkpoint.loading import checked_name
from mechir_edu.rankers.joint import JointRanker
from mechir_edu.rankers.pooling import Hidden, Mask, RowsRead
from mechir_edu.rankers.verification import QUERY, wrap
from mechir_edu.rankers.yes_no import Asked


class CrossEncoder(JointRanker):
    """Cross-encoder: query and document are read together; the score is made of logits.

    Parameters
    ----------
    name : ``"embedded"`` (ours, on MiniLM's weights), ``"planted"`` (a constructed ranker whose
        mechanism is known, with ``planted_heads``), a local folder, or a hub id.
    max_length, device, verify : as for `me.Dot`.
    true_token, false_token, template : for a language model that answers, see
        `mechir_edu.rankers.yes_no.Asked`; the checkpoint's own by default.
    readout : "query likelihood" reads any causal language model by how well it foresees the query
        behind the passage (`mechir_edu.rankers.likelihood`), in a ``template`` or a default one.

    The score is the only logit or, of two labels, the logit that means *relevant* (the last, unless
    ``id2label`` says otherwise) minus the other; a softmax's log-probability of *relevant* ranks
    alike. MechIR 0.2.0 takes the first of two logits and so explains non-relevance.

    A language model that answers (``true_token`` yes, ``false_token`` no, or what sentence-
    transformers stores as LogitScore) scores by the logit of yes minus that of no. A checkpoint's
    default prompt is put before the query. What sentence-transformers saves as modules (a bare
    encoder, Pooling, Dense and LayerNorm, as the ettin rerankers) is read, too.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError, RuntimeError
        As for `me.Dot`; a ValueError also for a checkpoint without a trained classification head,
        with more than two labels, or with names of two that are not understood.
    """

    kind, kind_name = "cat", "cross-encoder"

    def __init__(
        self,
        name: str | Path,
        *,
        max_length: int | None = None,
        device: str = "auto",
        verify: bool = True,
        true_token: str | int | None = None,
        false_token: str | int | None = None,
        template: str | None = None,
        readout: str | None = None,
    ) -> None:
        name = checked_name(name)
        self.asked = Asked(true_token, false_token, template, readout)
        parts = load_parts(name, self.asked)
        model, tokenizer, checksum, self.planted_heads, self.prompts, self.head = parts
        self.label = 0 if self.head else relevant_label(model.config.to_dict())
        super().__init__(
            name, model, tokenizer, checksum=checksum, max_length=max_length, device=device
        )
        if self.head is not None:
            self.head.modules.to(self.device)
        require_room(self, QUERY)
        wrap(self, verify=verify)

    @property
    def settings(self) -> dict[str, str | int]:  # noqa: D102
        return super().settings | self.asked.settings

    @property
    def rows(self) -> RowsRead:  # noqa: D102
        if self.head is not None:
            return self.head.rows
        if self.family.classifies_first_position(self.hf_model.config):
            return "first"
        return "last" if self.family.is_causal(self.hf_model.config) else "all"

    def counts(self, inputs: Inputs) -> Mask:
        """Rows that a score may read; of decoders, as Hugging Face has it, no padding token's."""
        if self.head is not None:
            return self.head.counts(inputs)
        if self.rows == "last":
            return (inputs["input_ids"] != self.hf_model.config.pad_token_id).long()
        return super().counts(inputs)

    def output(self, hidden: Hidden, attention_mask: Mask) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states."""
        if self.head is not None:
            return self.head.scores(hidden, attention_mask)
        logits = self.family.classify(self.hf_model, hidden, attention_mask)
        return score_of(logits, self.label)

    def publisher_output(self, inputs: Inputs) -> Float[Tensor, " pair"]:  # noqa: D102
        read = self.hf_model(**inputs)[0]
        if self.head is not None:
            return self.head.published(read, self.counts(inputs))
        return score_of(read, self.label)

    def probability(self, scores: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
        """Probability of *relevant* (or of a query token); it ranks alike, and is not patched."""
        of_head = getattr(self.head, "probability", super().probability)
        return of_head(scores)
