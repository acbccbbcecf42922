"""The axiom about words that are related to a query term: STMC1."""

from mechir_edu.collection.judged import Judged
from mechir_edu.collection.terms import terms
from mechir_edu.perturb.axiom import (
    HAS_NEUTRAL,
    Axiom,
    AxiomContext,
    NotApplicable,
    pick,
    query_words,
)
from mechir_edu.perturb.axioms.neighbours import RELATED, related_words, similarity
from mechir_edu.perturb.edits import Span
from mechir_edu.perturb.shapes import (
    Replacement,
    control_of,
    other_words,
    replacing,
    replacing_neutral,
)


def related_for_unrelated(judged: Judged, context: AxiomContext) -> Replacement:
    """Choose a word related to a query term, and an unrelated word of the document to replace."""
    taken = {*terms(judged.query), *terms(judged.text)}
    options = []
    for word in query_words(judged.query).values():
        new = (w for w in related_words(word) if not taken.issuperset(terms(w)))
        nearest = next((w for w in new if terms(w)[0] in context.statistics.df), None)
        options += [nearest] if nearest else []
    if not options:
        raise NotApplicable("no related word to a query term")
    related = pick(options, context.draws(judged, "related word"))
    return Replacement(_unrelated_place(judged, context), related)


def _unrelated_place(judged: Judged, context: AxiomContext) -> Span:
    """Find the outermost word, by the context's place, that is known to be related to no term."""
    spans = [span for _, span in other_words(judged)]
    for span in reversed(spans) if context.place == "end" else spans:
        word = judged.text[slice(*span)]
        cosines = [similarity(term, word) for term in query_words(judged.query).values()]
        known = [cosine for cosine in cosines if cosine is not None]
        if known and max(known) < RELATED:
            return span
    raise NotApplicable("document has no word known to be unrelated")


STMC1 = Axiom(
    name="STMC1",
    statement="Of two words that are no query terms, the one more related to a query term raises "
    "the score more: an unrelated word of the document is replaced by the nearest neighbour of a "
    "query term in the embedded model's input embeddings.",
    source="Fang and Zhai, Semantic term matching in axiomatic approaches to information "
    "retrieval, SIGIR 2006",
    precondition=f"a query term has a neighbour (cosine at least {RELATED}) that the collection "
    "holds and that is in neither query nor document, and the document has a word below that for "
    "every query term",
    expected_sign=1,
    apply=replacing(related_for_unrelated),
    control="STMC1-control",
)

RELATED_AXIOMS = (STMC1,)
RELATED_CONTROLS = (
    control_of(
        STMC1,
        replacing_neutral(related_for_unrelated),
        "The same word of the document is replaced by one that has nothing to do with the query, "
        "as long and as rare as the one that STMC1 puts in",
        HAS_NEUTRAL,
    ),
)
