"""Axioms about where a document holds the query's terms: TP and PREF.

Both let two words of the document change places: the bag of words and the length stay, and so does
every other word. Distances are counted in content words, stop words left out.
"""

from itertools import pairwise

from mechir_edu.collection.judged import Judged
from mechir_edu.collection.terms import term_spans
from mechir_edu.perturb.axiom import (
    Axiom,
    AxiomContext,
    NotApplicable,
    held_query_words,
    pick,
    query_words,
)
from mechir_edu.perturb.edits import Span
from mechir_edu.perturb.shapes import control_of, exchanging, exchanging_neutral


def closest_apart(judged: Judged, context: AxiomContext) -> tuple[Span, Span]:
    """Choose the two different query terms that are closest to each other, but apart.

    Returns
    -------
    The word behind the first of them, and the second of them.
    """
    wanted, words = query_words(judged.query), term_spans(judged.text)
    at = [i for i, (stem, _) in enumerate(words) if stem in wanted]
    # A third occurrence between two different terms differs from one of them and is closer to it.
    gaps = [(j - i, i, j) for i, j in pairwise(at) if words[i][0] != words[j][0]]
    if not gaps:
        raise NotApplicable("document holds fewer than two query terms")
    distance, first, second = min(gaps)
    if distance == 1:
        raise NotApplicable("query terms stand side by side already")
    return words[first + 1][1], words[second][1]


def first_and_query_word(judged: Judged, context: AxiomContext) -> tuple[Span, Span]:
    """Choose the document's first content word, and where a query term occurs first."""
    held = held_query_words(judged)
    words = term_spans(judged.text)
    if words[0][0] in held:
        raise NotApplicable("document begins with a query term")
    chosen = pick(list(held), context.draws(judged, "held query term"))
    return words[0][1], next(span for stem, span in words if stem == chosen)


TP = Axiom(
    name="TP",
    statement="Query terms that stand closer together raise the score: the closest two of them are "
    "brought side by side, the second changing places with the word behind the first.",
    source="Tao and Zhai, An exploration of proximity measures in information retrieval, SIGIR "
    "2007 (the distance is their MinDist)",
    precondition="the document holds two different query terms, and no two side by side",
    expected_sign=1,
    apply=exchanging(closest_apart),
    control="TP-control",
)
PREF = Axiom(
    name="PREF",
    statement="A query term that occurs earlier raises the score: its first occurrence changes "
    "places with the document's first content word.",
    source="PROX2 of Hagen, Völske, Göring and Stein, Axiomatic result re-ranking, CIKM 2016; as "
    "implemented by Bondarenko et al., Axiomatic retrieval experimentation with ir_axioms, SIGIR "
    "2022 (which ask for two query terms in the document)",
    precondition="the document holds a query term and does not begin with one",
    expected_sign=1,
    apply=exchanging(first_and_query_word),
    control="PREF-control",
)


def _in_place(of: Axiom) -> str:
    return (
        f"The word that {of.name} exchanges with the query term changes places with the nearest "
        "neighbour of that term instead, so that every query term stays where it is"
    )


ORDER_AXIOMS = (TP, PREF)
ORDER_CONTROLS = (
    control_of(
        TP, exchanging_neutral(closest_apart), _in_place(TP), "the document has such a neighbour"
    ),
    control_of(
        PREF,
        exchanging_neutral(first_and_query_word),
        _in_place(PREF),
        "the document has such a neighbour",
    ),
)
