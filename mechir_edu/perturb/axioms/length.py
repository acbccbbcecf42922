"""Axioms about the length of a document: LNC1, LNC2, TF-LNC."""

from dataclasses import replace

from mechir_edu.collection.judged import Judged
from mechir_edu.collection.terms import term_spans
from mechir_edu.perturb.axiom import (
    FANG,
    HAS_NEUTRAL,
    HAS_TERM,
    Axiom,
    AxiomContext,
    held_query_words,
    neutral_word,
    random_query_word,
)
from mechir_edu.perturb.edits import Change, Span, insert
from mechir_edu.perturb.shapes import (
    Replacement,
    adding,
    adding_neutral,
    control_of,
    other_words,
    replacing_neutral,
)

# How often TF-LNC adds its term. Once would be TFC1's edit, whose document grows alike.
TIMES = 3


def outermost(judged: Judged, context: AxiomContext) -> Span:
    """Choose the last (``"end"``) or the first content word that is no query term."""
    return other_words(judged)[-1 if context.place == "end" else 0][1]


def neutral_for_outermost(judged: Judged, context: AxiomContext) -> Replacement:
    """Choose the word that LNC1 adds, and the word next to where LNC1 adds it, to be replaced."""
    return Replacement(outermost(judged, context), random_query_word(judged, context))


def doubled(judged: Judged, context: AxiomContext) -> Change:
    """Write the document twice."""
    held_query_words(judged)  # the document has to match for the axiom to say anything
    return replace(insert(judged.text, judged.text, context.place), term=None)


def doubled_without_terms(judged: Judged, context: AxiomContext) -> Change:
    """Write the document, and once more with its query terms replaced by neutral words."""
    held = held_query_words(judged)
    neutral = {stem: neutral_word(word, judged, context) for stem, word in held.items()}
    copy = judged.text
    for stem, (start, end) in reversed(term_spans(copy)):
        copy = copy[:start] + neutral.get(stem, copy[start:end]) + copy[end:]
    return replace(insert(judged.text, copy, context.place), term=None)


LNC1 = Axiom(
    name="LNC1",
    statement="One more word that is no query term does not raise the score; a longer document is "
    "penalised. The edit is that of TFC1-control, with a prediction.",
    source=FANG,
    precondition=f"{HAS_TERM}, and the collection has a word as long and as rare as one of them "
    "that is in neither query nor document",
    expected_sign=-1,
    apply=adding_neutral(random_query_word),
    control="LNC1-control",
)
LNC2 = Axiom(
    name="LNC2",
    statement="Writing a document twice over does not lower its score: the penalty for its length "
    "must not outweigh its matches.",
    source=FANG,
    precondition="the document holds a query term",
    expected_sign=1,
    apply=doubled,
    control="LNC2-control",
)
TF_LNC = Axiom(
    name="TF-LNC",
    statement="A document that is longer by nothing but occurrences of a query term scores higher: "
    f"{TIMES} more of them gain more than the {TIMES} words of length cost.",
    source=FANG,
    precondition=HAS_TERM,
    expected_sign=1,
    apply=adding(random_query_word, TIMES),
    control="TF-LNC-control",
)

LENGTH_AXIOMS = (LNC1, LNC2, TF_LNC)
LENGTH_CONTROLS = (
    control_of(
        LNC1,
        replacing_neutral(neutral_for_outermost),
        "The word that LNC1 adds replaces one that is no query term, next to where LNC1 "
        "adds it, so that nothing becomes longer",
        "the document has a word besides query terms",
    ),
    control_of(
        LNC2,
        doubled_without_terms,
        "The document is written twice over, the second time with neutral words, as long and as "
        "rare, for its query terms",
        "the collection has such words",
    ),
    control_of(
        TF_LNC,
        adding_neutral(random_query_word, TIMES),
        f"A word that has nothing to do with the query, {TIMES} times over, as long and as rare as "
        "the one that TF-LNC adds and at the same place",
        HAS_NEUTRAL,
    ),
)
