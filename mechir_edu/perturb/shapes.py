"""The shapes that an axiom's edit can have, each with the neutral edit of the same shape.

An axiom chooses words; a shape makes the edit of them. *Adding* puts words at the end or the start
of the document, *replacing* puts one word in place of another, *exchanging* lets two words
change places. The neutral edit asks the axiom for its choice, and makes the same kind of edit at
the same place without touching how often, or where, the document holds a query term.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mechir_edu.collection.judged import Judged
from mechir_edu.collection.terms import term_spans, terms
from mechir_edu.collection.words import plain
from mechir_edu.perturb.axiom import Axiom, AxiomContext, NotApplicable, neutral_word, query_words
from mechir_edu.perturb.edits import Change, Place, Span, exchange, insert, replace

Apply = Callable[[Judged, AxiomContext], Change]
Choose = Callable[[Judged, AxiomContext], str]
ChooseSpans = Callable[[Judged, AxiomContext], tuple[Span, Span]]


@dataclass(frozen=True)
class Replacement:
    """A word, and the span of the document that it is to replace."""

    span: Span
    word: str


ChooseReplacement = Callable[[Judged, AxiomContext], Replacement]


def adding(choose: Choose, times: int = 1) -> Apply:
    """Add the chosen word to the document, once or several times over."""

    def apply(judged: Judged, context: AxiomContext) -> Change:
        word = choose(judged, context)
        return insert(judged.text, " ".join([word] * times), context.place, term=word)

    return apply


def adding_neutral(choose: Choose, times: int = 1) -> Apply:
    """Add a neutral word instead, as long and as rare as the chosen one."""
    return adding(
        lambda judged, context: neutral_word(choose(judged, context), judged, context), times
    )


def replacing(choose: ChooseReplacement) -> Apply:
    """Put the chosen word in place of another."""

    def apply(judged: Judged, context: AxiomContext) -> Change:
        chosen = choose(judged, context)
        return replace(judged.text, chosen.span, chosen.word)

    return apply


def replacing_neutral(choose: ChooseReplacement) -> Apply:
    """Put a neutral word, as long and as rare as the chosen one, in place of a non-query word.

    It replaces the chosen word, or, if that is a query term, the nearest word that is none.
    """

    def apply(judged: Judged, context: AxiomContext) -> Change:
        chosen = choose(judged, context)
        word = neutral_word(chosen.word, judged, context)
        return replace(judged.text, nearest_other_word(judged, chosen.span), word)

    return apply


def exchanging(choose: ChooseSpans) -> Apply:
    """Let the two chosen words change places; the second one is the query term."""
    return lambda judged, context: exchange(judged.text, *choose(judged, context))


def exchanging_neutral(choose: ChooseSpans) -> Apply:
    """Let the first chosen word change places with the nearest neighbour of the query term."""

    def apply(judged: Judged, context: AxiomContext) -> Change:
        first, query_term = choose(judged, context)
        here = terms(judged.text[slice(*first)])
        return exchange(judged.text, first, nearest_other_word(judged, query_term, here))

    return apply


def other_words(judged: Judged) -> list[tuple[str, Span]]:
    """List the document's content words that are no query term, as ``terms.term_spans`` does.

    Raises
    ------
    NotApplicable
        If there is none.
    """
    in_query = query_words(judged.query)
    words = [word for word in term_spans(judged.text) if word[0] not in in_query]
    if not words:
        raise NotApplicable("document has no word besides query terms")
    return words


def nearest_other_word(judged: Judged, span: Span, avoid: list[str] | None = None) -> Span:
    """Find the content word nearest to a span that is no query term and no term of ``avoid``."""
    spans = [at for stem, at in other_words(judged) if stem not in (avoid or [])]
    if not spans:
        raise NotApplicable("document has no second word besides query terms")

    def distance(at: Span) -> int:
        # In characters as they are read: a document is no longer for being written in NFD.
        start, end = sorted([at[0], span[0]])
        return len(plain(judged.text[start:end]))

    return min(spans, key=distance)


def occurrence(judged: Judged, stem: str, place: Place) -> Span:
    """Find the last (``"end"``) or first (``"start"``) occurrence of a term in the document."""
    spans = [span for other, span in term_spans(judged.text) if other == stem]
    return spans[-1 if place == "end" else 0]


def control_of(axiom: Axiom, apply: Apply, statement: str, needs: str) -> Axiom:
    """Describe an axiom's control: what it does, and what it needs besides the axiom's needs."""
    return Axiom(
        name=f"{axiom.name}-control",
        statement=f"{statement}: no prediction.",
        source="this toolkit",
        precondition=f"that of {axiom.name}, and {needs}",
        expected_sign=0,
        apply=apply,
    )
