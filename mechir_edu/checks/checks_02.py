"""Checks of 02_perturb_with_an_axiom: the rarest query term, and filling a gap."""

from collections.abc import Callable

from mechir_edu.checks._report import attempt, checker, mistake_in
from mechir_edu.collection.terms import TermStatistics, surface_terms

DOCUMENT, QUERY = (
    "Warm seas cause bleaching of reefs.",
    "how to define coral bleaching in statistics",
)
STATISTICS = TermStatistics(n_docs=99, df={"defin": 20, "coral": 9, "bleach": 2, "statist": 40})

BASELINE, PERTURBED = [101, 7, 8, 9, 102], [101, 7, 50, 51, 8, 9, 102]
START, FILLER = 2, 1037


@checker("the rarest term, reduced as the index is, added as the word that it is.")
def check_add_rarest_term(answer: Callable) -> str | None:
    """Check ``add_rarest_term(document, query, idf)``: TDC's edit at the end of a document."""
    given = attempt(answer, DOCUMENT, QUERY, STATISTICS.idf)
    mistakes = {
        "you looked up the unreduced word; the table holds stems, so 'define' counts as unseen and "
        "wins. This happened in published data.": f"{DOCUMENT} define",
        "you chose among the terms that the document lacks; add the rarest one of the query, even "
        "if the document has it already.": f"{DOCUMENT} coral",
        "you chose a stop word; take terms only, and look up their stems.": f"{DOCUMENT} how",
        "that is the commonest term; the most discriminative has the highest "
        "idf.": f"{DOCUMENT} statistics",
        "you added the stem; readers and rankers expect the word.": f"{DOCUMENT} bleach",
        "you looked up the unreduced word and added a stem; it is the other way "
        "round.": f"{DOCUMENT} defin",
        "you added all terms; add the one of highest idf only.": " ".join(
            [DOCUMENT, *(word for _, word in surface_terms(QUERY))]
        ),
        "the word merged with the one before it; put a space between.": f"{DOCUMENT}bleaching",
        "the word stands at the start; add it at the end.": f"bleaching {DOCUMENT}",
        "that is the word alone; return the document with it.": "bleaching",
        "you added the rarest term twice; once is the edit.": f"{DOCUMENT} bleaching bleaching",
        "that is the whole query; add one term of it.": f"{DOCUMENT} {QUERY}",
        "nothing changed; return the edited document.": DOCUMENT,
    }
    return mistake_in(given, f"{DOCUMENT} bleaching", mistakes)


@checker("every token but the edit has its partner at the same position in the other version.")
def check_fill_gap(answer: Callable) -> str | None:
    """Check ``fill_gap(baseline, perturbed, start, filler)``: a baseline of equal length."""
    given = attempt(answer, list(BASELINE), list(PERTURBED), START, FILLER)
    head, tail = BASELINE[:START], BASELINE[START:]
    mistakes = {
        "the filler stands at the end, behind [SEP]; what follows the edit is still out of "
        "place.": [*BASELINE, FILLER, FILLER],
        "the filler stands before the last [SEP]; that is right for a word added at the end, but "
        "this edit starts elsewhere.": [*BASELINE[:-1], FILLER, FILLER, BASELINE[-1]],
        "one filler is not enough; the added word has two word pieces.": [*head, FILLER, *tail],
        "the filler stands before [CLS], and everything is shifted.": [FILLER, FILLER, *BASELINE],
        "that is the perturbed version; the filler goes into the baseline.": PERTURBED,
        "a filler took the place of a token of the baseline; all of them have to stay.": [
            *head,
            FILLER,
            *tail[1:],
        ],
        "fillers took the place of tokens of the baseline; all of them have to stay.": [
            *head,
            FILLER,
            FILLER,
            *tail[2:],
        ],
        "the gap is where the edit starts, not one token behind it.": [
            *BASELINE[: START + 1],
            FILLER,
            FILLER,
            *BASELINE[START + 1 :],
        ],
        "nothing was filled in; the two are of unequal length.": BASELINE,
    }
    return mistake_in(list(given), [*head, FILLER, FILLER, *tail], mistakes)
