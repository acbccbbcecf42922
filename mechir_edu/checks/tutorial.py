"""What a tutorial computes: its long results at hand, and its sizes.

The long results of the tutorials travel with the package. `patch` and `path_patch` here take what
`mechir_edu.patch` and `mechir_edu.path_patch` take and give the same results; where a stored one
was made of the same ranker, pairs and options, they load it instead of computing it. What was
changed, be it the model, the number of pairs or an option, is computed. ``MECHIR_EDU_RECOMPUTE=1``
in the environment, or ``me.tutorial.recompute = True``, computes everything anew.

``MECHIR_EDU_FAST=1`` asks for little where something has to be computed. The same code runs either
way, only on fewer pairs, so a notebook that passes in the fast profile works in full too.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mechir_edu.patching.activation import patch as compute_patch
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.paths import PathResult
from mechir_edu.patching.paths import path_patch as compute_path_patch
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import in_direction, score_pairs
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.base import Ranker

T = TypeVar("T")
Result = TypeVar("Result", PatchingResult, PathResult)

RESULTS = Path(__file__).parents[1] / "assets" / "results"
recompute = False


def fast() -> bool:
    """Whether ``MECHIR_EDU_FAST`` in the environment asks for the fast profile."""
    return _is_set("MECHIR_EDU_FAST")


def pick(full: T, little: T) -> T:
    """Pick a size: ``n = me.tutorial.pick(48, 8)`` is 48 pairs, or 8 in the fast profile."""
    return little if fast() else full


def patch(ranker: Any, pairs: Any, **options: Any) -> PatchingResult:
    """`mechir_edu.patch`, from the results at hand where they hold this very one.

    Parameters, result and errors as there. What is loaded is said in a line.
    """
    return _at_hand(PatchingResult, compute_patch, ranker, pairs, options)


def path_patch(ranker: Any, pairs: Any, **options: Any) -> PathResult:
    """`mechir_edu.path_patch`, from the results at hand where they hold this very one.

    Parameters, result and errors as there. What is loaded is said in a line.
    """
    return _at_hand(PathResult, compute_path_patch, ranker, pairs, options)


def key(result: type, ranker: Ranker, pairs: Sequence[Pair], options: dict[str, Any]) -> str:
    """Name of the file that holds a result: a hash of all that its scores depend on."""
    if result is PatchingResult:
        options = PatchOptions(**options).as_json()  # defaults included, however they are given
    told = {
        "result": result.__name__,
        "ranker": [ranker.kind, ranker.checksum, ranker.settings],
        "options": {name: value for name, value in options.items() if name != "memory"},
        "pairs": [asdict(pair) for pair in pairs],
    }
    text = json.dumps(told, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _at_hand(
    result: type[Result],
    compute: Callable[..., Result],
    ranker: Any,
    pairs: Any,
    options: dict[str, Any],
) -> Result:
    progress = options.pop("progress", True)
    kept = os.environ.get("MECHIR_EDU_KEEP_RESULTS")  # the folder that tools/keep_results.py fills
    known = isinstance(ranker, Ranker) and ranker.checksum  # constructed weights have none
    if not known or not isinstance(pairs, Sequence) or not all(isinstance(p, Pair) for p in pairs):
        return compute(ranker, pairs, progress=progress, **options)
    name = f"{key(result, ranker, pairs, options)}.npz"
    if (RESULTS / name).is_file() and not (recompute or kept or _is_set("MECHIR_EDU_RECOMPUTE")):
        loaded = result.load(RESULTS / name)
        if _scores_alike(ranker, loaded if isinstance(loaded, PatchingResult) else loaded.paths):
            print(
                f"Loaded: {len(pairs)} pairs, computed before; me.tutorial.recompute = True "
                "computes them here."
            )
            return loaded
    computed = compute(ranker, pairs, progress=progress, **options)
    if kept:
        computed.save(Path(kept) / name)
    return computed


def _scores_alike(ranker: Ranker, stored: PatchingResult) -> bool:
    """Whether a ranker still is what its checksum says, whatever was hooked or changed since."""
    few = score_pairs(ranker, stored.pairs[:2], filler=stored.filler)
    here = in_direction(few.baseline, few.perturbed, stored.direction)
    there = (stored.recipient[:2], stored.donor[:2])
    return np.allclose(here, there, rtol=0, atol=1e-4)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")
