"""What patching can be asked for, as one value that commands, folders and workers hand on."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from mechir_edu.alignment.aligned import role_names
from mechir_edu.alignment.prompts import writes_end
from mechir_edu.patching.budget import require_budget
from mechir_edu.patching.numbers import plain_heads, whole_number
from mechir_edu.patching.rows import ROWS, By
from mechir_edu.patching.sweep import Sweep
from mechir_edu.rankers.base import Ranker
from mechir_edu.rankers.hook_names import HEAD_SITES, HOOK_POINTS, Head
from mechir_edu.rankers.views import at_stack

ChosenDirection = Literal["perturbed_to_baseline", "baseline_to_perturbed"]
Direction = Literal["auto"] | ChosenDirection
DIRECTIONS: tuple[ChosenDirection, ...] = ("perturbed_to_baseline", "baseline_to_perturbed")
ESTIMATING = ("gradient", "screened")
METHODS = ("exact", "naive", *ESTIMATING)


@dataclass(frozen=True, kw_only=True)
class PatchOptions:
    """Options of `mechir_edu.patch`, which explains them; checked as far as no ranker is needed.

    Raises
    ------
    ValueError
        For an unknown site, ``by``, direction or method (the nearest known one is named), for
        options that exclude each other, or for a number out of its range.
    TypeError
        For what is no number, or no whole one.
    """

    site: str = "head"
    stack: str | None = None
    by: By = None
    heads: Sequence[Head] | None = None
    together: bool = False
    direction: Direction = "auto"
    filler: str = "a"
    method: str = "exact"
    top_k: int = 10
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.heads is not None:
            object.__setattr__(self, "heads", plain_heads(self.heads))
        object.__setattr__(self, "top_k", whole_number("top_k", self.top_k, least=1))
        require_budget(self.memory)
        if not isinstance(self.together, bool | np.bool_):
            raise TypeError(f"together needs True or False, got {self.together!r}")
        require_known("site", self.site, HOOK_POINTS)
        require_known("by", self.by, ROWS)
        require_known("direction", self.direction, ("auto", *DIRECTIONS))
        require_known("method", self.method, METHODS)
        if self.together and self.method in ESTIMATING:
            raise ValueError(
                f'a set of heads is patched by "exact" or "naive", got {self.method!r}'
            )
        if self.method == "screened" and (self.by is not None or self.site not in HEAD_SITES):
            raise ValueError(
                f"screened ranks heads patched at all positions, got site {self.site!r} by "
                f'{self.by!r}; use "gradient", or screen first and patch the heads it finds with '
                "heads= and by="
            )

    def sweep(self, ranker: Ranker) -> Sweep:
        """The cells that are patched in a ranker.

        Raises
        ------
        ValueError
            For a stack, a site or a head that the ranker does not have, or a site that is constant.
        """
        ranker = at_stack(ranker, self.stack)
        ranker.stack.require_site(self.site)
        heads = None if self.heads is None else tuple(self.heads)
        return Sweep(
            self.site,
            self.by,
            n_layers=ranker.n_layers,
            n_heads=ranker.stack.heads_at(self.site),
            heads=heads,
            together=self.together,
            one_row=not ranker.stack.has_row_per_token(self.site),
            n_roles=len(role_names(ranker.prompts, ends=writes_end(ranker.tokenizer))),
        )

    def as_json(self) -> dict[str, Any]:
        """The options as JSON can hold them."""
        heads = None if self.heads is None else [list(head) for head in self.heads]
        stated = asdict(self) | {"heads": heads}
        # Of most rankers there is nothing to choose, and folders of runs made before say nothing.
        return stated if self.stack else {k: v for k, v in stated.items() if k != "stack"}


def require_known(name: str, value: Any, known: Iterable[Any]) -> None:
    """Refuse a value that is not one of those known.

    Raises
    ------
    ValueError
        With all known values, and the nearest one where the value looks misspelt.
    """
    known = list(known)
    if value in known:
        return
    near = difflib.get_close_matches(str(value), map(str, known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}{hint}")
