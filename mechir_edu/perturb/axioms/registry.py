"""The retrieval axioms, each as one small edit of a document, with a control of its own.

An axiom says how a ranking score should change when a document changes in one way and in no
other. Here each is a function that makes that change. Its *control* makes a change of the same
shape that the axiom says nothing about, at the same place: where the axiom adds a query term,
the control adds a neutral word of about the same length and rarity. Only what an axiom does
beyond its control is about query terms; the rest is about a document having been changed at all.

::

    edits      insert, replace and exchange words       -> Change
    context    what axioms may look at, neutral words
    shapes     an edit of chosen words, and its neutral twin
    axioms_*   which words each axiom chooses           -> Axiom
    axioms     all of them by name                      -> AXIOMS

To add an axiom, write a function that chooses words and raises `NotApplicable` where its
precondition fails, describe it and its control as an `Axiom` each, and list them in `AXIOMS`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from mechir_edu.perturb.axiom import Axiom
from mechir_edu.perturb.axioms.frequency import FREQUENCY_AXIOMS, FREQUENCY_CONTROLS
from mechir_edu.perturb.axioms.length import LENGTH_AXIOMS, LENGTH_CONTROLS
from mechir_edu.perturb.axioms.order import ORDER_AXIOMS, ORDER_CONTROLS
from mechir_edu.perturb.axioms.related import RELATED_AXIOMS, RELATED_CONTROLS

AXIOMS: Mapping[str, Axiom] = MappingProxyType(
    {
        axiom.name: axiom
        for group in (
            *(FREQUENCY_AXIOMS, LENGTH_AXIOMS, ORDER_AXIOMS, RELATED_AXIOMS),
            *(FREQUENCY_CONTROLS, LENGTH_CONTROLS, ORDER_CONTROLS, RELATED_CONTROLS),
        )
        for axiom in group
    }
)
"""The axioms by name, and behind them their controls."""
