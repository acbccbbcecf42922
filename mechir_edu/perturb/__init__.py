"""Perturb documents so that one retrieval axiom says how their scores should change.

`make_pairs` draws judged pairs from a collection and applies one axiom of `AXIOMS`, or a function
of your own marked with `perturbation`, to each.

::

    pair           one query, two versions of one document       Pair, PairList
    edits          insert, replace and exchange words            -> Change
    axiom          what axioms may look at, neutral words        -> Axiom
    shapes         an edit of chosen words, and its neutral twin
    axioms/        which words each axiom chooses                -> AXIOMS
    own            functions of your own                         perturbation
    draw           judged pairs, perturbed                       make_pairs
"""

from mechir_edu.perturb.axiom import Axiom
from mechir_edu.perturb.axioms.registry import AXIOMS
from mechir_edu.perturb.draw import make_pairs
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.own import Perturbation, difference, perturbation
from mechir_edu.perturb.pair import Pair, PairList

__all__ = [
    "AXIOMS",
    "Axiom",
    "Edit",
    "Pair",
    "PairList",
    "Perturbation",
    "difference",
    "make_pairs",
    "perturbation",
]
