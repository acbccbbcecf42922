"""MechIR-Edu shows why a neural ranker scores a passage as it does.

A map of the package, in the order in which data flows::

    collection   queries, passages and judgments        load_collection
    axioms       what may be done to a document         AXIOMS
    perturb      pairs of a document and its edit       make_pairs, perturbation, Pair
    align        both as equally long token sequences   align
    rankers      models with hooks                      Dot, Cat
    patching     what each component carries            patch
    paths        what one head tells another            path_patch
    results      scores after every patch               PatchingResult
    stats        recovery, with its uncertainty         recovery
    interventions changes made for every text           Knockout, Scale, Steer
    reranking    what that does to rankings             evaluate, compare
    plots        pictures                               plots.plot_heads
    widgets      the same as panels in a notebook       widgets.explore_heads

Names are loaded when they are first used, so that importing the package is quick.
"""

from importlib import import_module
from typing import Any

from mechir_edu.mini import register

_HOME = {
    "AXIOMS": "axioms",
    "AlignedPairs": "aligned",
    "Cat": "rankers",
    "Collection": "collection",
    "Dot": "rankers",
    "Knockout": "interventions",
    "Pair": "perturb",
    "PatchingResult": "results",
    "PathResult": "paths",
    "Role": "aligned",
    "Scale": "interventions",
    "Steer": "steering",
    "SteerResidual": "steering",
    "ablate": "ablation",
    "align": "alignment",
    "compare": "reranking",
    "evaluate": "reranking",
    "load_collection": "collection",
    "make_pairs": "perturb",
    "pair_attention": "attention",
    "patch": "patching",
    "path_patch": "paths",
    "perturbation": "perturb",
    "read_pair": "reading",
}
_MODULES = ("checks", "plots", "stats", "tutorial", "widgets")
__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"mechir_edu.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"mechir_edu.{name}")
    raise AttributeError(f"module 'mechir_edu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


# So that ir_datasets.load("mechir-edu/mini") works from here on; imports nothing heavy.
register()
