"""Cross-encoders of modules: a bare encoder, its hidden states pooled, and a small network behind.

sentence-transformers 6 saves them so (the ettin rerankers are such): Transformer, Pooling, then
Dense and LayerNorm, and at the end a Dense that gives the score.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from mechir_edu.rankers.base import Inputs
from mechir_edu.rankers.checkpoint.settings import (
    DENSE,
    LAYER_NORM,
    POOLING_RULES,
    Module,
    stated_modules,
)
from mechir_edu.rankers.checkpoint.stored import obey, read_object
from mechir_edu.rankers.pooling import POOLING, ROWS, Hidden, Mask, RowsRead
from mechir_edu.rankers.readout import read_dense, read_layer_norm, read_pooling

RULES = {
    "Pooling": POOLING_RULES,
    "Dense": DENSE,
    "LayerNorm": LAYER_NORM,
    "score": DENSE | {"module_output_name": ("scores",)},
}


@dataclass(frozen=True)
class ModularHead:
    """What makes a score of final hidden states.

    Attributes
    ----------
    pooling : a key of `mechir_edu.rankers.pooling.POOLING`.
    modules : applied to the pooled vector, in order; the last one gives one number.
    """

    pooling: str
    modules: nn.Sequential

    @property
    def rows(self) -> RowsRead:
        """Which final hidden states the score depends on."""
        return ROWS.get(self.pooling, "all")

    def counts(self, inputs: Inputs) -> Mask:
        """Rows of real tokens."""
        return inputs["attention_mask"]

    def scores(self, hidden: Hidden, mask: Mask) -> Float[Tensor, " pair"]:
        """Relevance scores from final hidden states and the mask of real tokens."""
        return self.modules(POOLING[self.pooling](hidden, mask))[:, 0]

    published = scores  # what the Hugging Face model gives are hidden states, too


def read_modular_head(folder: Path) -> ModularHead | None:
    """Read the modules behind a cross-encoder's Transformer; None where there are none.

    Raises
    ------
    ValueError
        For modules in another order, a last one that does not give one score, or a setting that is
        not obeyed.
    """
    modules = stated_modules(folder)
    names = " ".join(module.name for module in modules)
    if names in ("", "Transformer"):
        return None
    if not re.fullmatch("Transformer Pooling( Dense| LayerNorm)* Dense", names):
        raise ValueError(
            f"{folder.name} has the sentence-transformers modules {names.replace(' ', ', ')}; a "
            "cross-encoder needs a Transformer alone, which gives the score, or behind it a "
            "Pooling, any number of Dense and LayerNorm, and at the end a Dense for the score"
        )
    for module in modules[1:]:
        stated = read_object(module.folder / "config.json")
        rules = RULES["score" if module is modules[-1] else module.name]
        obey(f"{module.folder.name}/config.json of {folder.name}", stated, rules)
    if (labels := read_object(modules[-1].folder / "config.json").get("out_features")) != 1:
        raise ValueError(
            f"{modules[-1].folder.name}/config.json of {folder.name} sets out_features to "
            f"{labels}; needed 1, because nothing says which of several means relevant"
        )
    return ModularHead(
        read_pooling(modules[1].folder), nn.Sequential(*(_read(part) for part in modules[2:]))
    )


def _read(part: Module) -> nn.Module:
    return (read_dense if part.name == "Dense" else read_layer_norm)(part.folder)
