"""The retrieval axioms, each as one small edit of a document, with a control of its own.

An axiom says how a ranking score should change when a document changes in one way and in no
other. Here each is a function that makes that change. Its *control* makes a change of the same
shape that the axiom says nothing about, at the same place: where the axiom adds a query term,
the control adds a neutral word of about the same length and rarity. Only an axiom's effect over
its control is about query terms; the rest is about a document having been changed at all.

How an axiom is made::

    perturb/edits      insert, replace and exchange words              -> Change
    perturb/axiom      what axioms may look at, neutral words          -> Axiom
    perturb/shapes     an edit of chosen words, and its neutral twin
    frequency          how often the document holds the query's terms  TFC1, TFC2, TFC3, TDC, M-TDC
    length             the document's length                           LNC1, LNC2, TF-LNC
    order              where the document holds them                   TP, PREF
    neighbours         which words are related to a word
    related            words related to a query term                   STMC1

To add an axiom to a group, write in its file a function that chooses words and raises
`NotApplicable` where its precondition fails, describe the axiom and its control as an `Axiom` each,
and put both into the tuples at the end of that file; a new group is imported here.
"""

import difflib
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


def find_axiom(name: str) -> Axiom:
    """Look an axiom or a control up by its name.

    Raises
    ------
    ValueError
        For another name; gives the nearest one, and all that there are.
    """
    if name not in AXIOMS:
        near = difflib.get_close_matches(name.upper(), AXIOMS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no axiom is called {name!r}; {hint}There are {', '.join(AXIOMS)}")
    return AXIOMS[name]
