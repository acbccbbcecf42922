"""Axioms about how often a document holds the query's terms: TFC1, TFC2, TFC3, TDC, M-TDC.

As published they compare documents of one length. TFC1, TFC2 and TDC are made, as in MechIR, by
adding a word, so the document also becomes one word longer; their controls become longer alike.
TFC3 and M-TDC replace one word by another, which keeps the length as their papers ask.
"""

from collections import Counter
from itertools import permutations

from mechir_edu.collection.judged import Judged
from mechir_edu.collection.terms import surface_terms, terms
from mechir_edu.perturb.axiom import (
    FANG,
    HAS_NEUTRAL,
    HAS_TERM,
    SAME_RARITY,
    Axiom,
    AxiomContext,
    NotApplicable,
    held_query_words,
    pick,
    query_words,
    random_query_word,
)
from mechir_edu.perturb.shapes import (
    Replacement,
    adding,
    adding_neutral,
    control_of,
    occurrence,
    replacing,
    replacing_neutral,
)

PARRY = "as an edit: Parry, Chen, Eickhoff and MacAvaney, MechIR, ECIR 2025"


def rarest_query_word(judged: Judged, context: AxiomContext) -> str:
    """Choose the query's term of highest idf; of equals, the first."""
    words = query_words(judged.query)
    return words[max(words, key=context.statistics.idf)]


def repeated_query_word(judged: Judged, context: AxiomContext) -> str:
    """Choose at random one of the query's terms that the document holds."""
    return pick(list(held_query_words(judged).values()), context.draws(judged, "held query term"))


def repeated_other_word(judged: Judged, context: AxiomContext) -> str:
    """Choose a word that the document holds as often as the term that TFC2 repeats.

    Of these it is the one nearest to it in length, then in idf.
    """
    like = repeated_query_word(judged, context)
    counts, in_query = Counter(terms(judged.text)), query_words(judged.query)
    idf, stem_of = context.statistics.idf, terms(like)[0]
    words = dict(reversed(surface_terms(judged.text)))
    options = [s for s in words if counts[s] == counts[stem_of] and s not in in_query]
    if not options:
        raise NotApplicable("document holds no other word as often")

    def distance(stem: str) -> tuple[int, float, str]:
        longer = abs(context.length(words[stem]) - context.length(like))
        return longer, abs(idf(stem) - idf(stem_of)), stem

    return words[min(options, key=distance)]


def missing_for_spare(judged: Judged, context: AxiomContext) -> Replacement:
    """Choose a missing query term, and one that occurs at least twice, of which it replaces one."""
    counts, words = Counter(terms(judged.text)), query_words(judged.query)
    idf = context.statistics.idf
    pairs = [
        (spare, missing)
        for spare, missing in permutations(words, 2)
        if counts[spare] > 1
        and not counts[missing]
        and abs(idf(spare) - idf(missing)) <= SAME_RARITY
    ]
    if not pairs:
        raise NotApplicable("no repeated query term is as rare as a missing one")
    spare, missing = pick(pairs, context.draws(judged, "missing query term"))
    return Replacement(occurrence(judged, spare, context.place), words[missing])


def rare_for_common(judged: Judged, context: AxiomContext) -> Replacement:
    """Choose two query terms to exchange counts: the commoner one occurs once more."""
    counts, words = Counter(terms(judged.text)), query_words(judged.query)
    asked, idf = Counter(terms(judged.query)), context.statistics.idf
    pairs = [
        (rare, common)
        for rare, common in permutations(words, 2)
        if idf(rare) > idf(common) + SAME_RARITY
        and asked[rare] >= asked[common]
        and counts[common] == counts[rare] + 1
    ]
    if not pairs:
        raise NotApplicable("no query term occurs just once more than a rarer one")
    rare, common = pick(pairs, context.draws(judged, "rare query term"))
    return Replacement(occurrence(judged, common, context.place), words[rare])


TFC1 = Axiom(
    name="TFC1",
    statement="One more occurrence of a query term raises the score.",
    source=f"{FANG}; {PARRY}",
    precondition=HAS_TERM,
    expected_sign=1,
    apply=adding(random_query_word),
    control="TFC1-control",
)
TFC2 = Axiom(
    name="TFC2",
    statement="One more occurrence of a query term that the document already holds still raises "
    "the score, but by less than the occurrence before it did. The sign is the first half; the "
    "second compares two edits, such as this one with TFC1's where the document lacks the term.",
    source=FANG,
    precondition="the document holds a query term",
    expected_sign=1,
    apply=adding(repeated_query_word),
    control="TFC2-control",
)
TFC3 = Axiom(
    name="TFC3",
    statement="Of two documents with equally many occurrences of equally discriminative query "
    "terms, the one that covers more of the terms scores higher: one occurrence of a repeated "
    "query term is replaced by a query term that was missing.",
    source="Fang, Tao and Zhai, Diagnostic evaluation of information retrieval models, ACM TOIS "
    "29(2), 2011",
    precondition="the document holds one query term at least twice and lacks another, and their "
    f"idf differs by at most {SAME_RARITY}",
    expected_sign=1,
    apply=replacing(missing_for_spare),
    control="TFC3-control",
)
TDC = Axiom(
    name="TDC",
    statement="One more occurrence of the query's most discriminative term (the one of highest "
    "idf) raises the score, and more than that of a less discriminative one.",
    source=f"{FANG}; {PARRY}",
    precondition=f"{HAS_TERM} (with only one, the edit is TFC1's)",
    expected_sign=1,
    apply=adding(rarest_query_word),
    control="TDC-control",
)
M_TDC = Axiom(
    name="M-TDC",
    statement="Of two documents that differ only in having exchanged their counts of two query "
    "terms, the one with more of the rarer term scores higher: where the commoner term occurs once "
    "more than the rarer, one of its occurrences is replaced by the rarer.",
    source="Shi, Wen, Yu, Song and Ma, Gravitation-based model for information retrieval, SIGIR "
    "2005 (a modification of TDC of Fang, Tao and Zhai, 2004)",
    precondition="the document holds a query term just once more than a rarer one (by more than "
    f"{SAME_RARITY} in idf) that the query has at least as often",
    expected_sign=1,
    apply=replacing(rare_for_common),
    control="M-TDC-control",
)


def _unrelated(of: Axiom) -> str:
    return (
        "A word that has nothing to do with the query, as long and as rare as the one that "
        f"{of.name} adds and at the same place"
    )


def _elsewhere(of: Axiom) -> str:
    return (
        "The nearest word that is no query term is replaced by one that has nothing to do with the "
        f"query, as long and as rare as the one that {of.name} puts in"
    )


FREQUENCY_AXIOMS = (TFC1, TFC2, TFC3, TDC, M_TDC)
FREQUENCY_CONTROLS = (
    control_of(TFC1, adding_neutral(random_query_word), _unrelated(TFC1), HAS_NEUTRAL),
    control_of(
        TFC2,
        adding(repeated_other_word),
        "One more occurrence of a word that is no query term, at the same place; the document "
        "holds it as often as the term that TFC2 repeats",
        "the document holds such a word",
    ),
    control_of(TFC3, replacing_neutral(missing_for_spare), _elsewhere(TFC3), HAS_NEUTRAL),
    control_of(TDC, adding_neutral(rarest_query_word), _unrelated(TDC), HAS_NEUTRAL),
    control_of(M_TDC, replacing_neutral(rare_for_common), _elsewhere(M_TDC), HAS_NEUTRAL),
)
