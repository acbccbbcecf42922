"""Derive from the published pairs how they were chosen, and how their words were.

Each function looks at the files and gives one `Claim`. Nothing here needs a model.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from published_claims import Claim, by_grade
from published_files import GRADES, Published
from snowballstemmer import stemmer

from mechir_edu.collection.terms import terms

# Judged pairs of TREC DL 2019 and 2020 (passages), by grade.
N_JUDGED = {0: 12_938, 1: 3_541, 2: 2_824, 3: 1_343}
_TOKEN = re.compile(r"\w+|[^\w\s]")


def one_word_appended(published: Sequence[Published]) -> Claim:
    """Every edit appends one word."""
    expected = [entry.pairs["text"] + " " + entry.terms for entry in published]
    alike = [
        (entry.pairs["perturbed_text"] == text)
        & ~entry.terms.str.contains(" ")
        & (entry.terms != "")
        for entry, text in zip(published, expected, strict=True)
    ]
    n_pairs, n_alike = sum(map(len, alike)), sum(map(sum, alike))
    return Claim(
        "Every edit appends one word to the passage",
        "`perturbed_text` against `text`",
        f"{n_alike:,} of {n_pairs:,} pairs",
        n_alike == n_pairs,
    )


def largest_changes_kept(published: Sequence[Published]) -> Claim:
    """Pairs were chosen by their score change."""
    groups = [group["score_delta"] for entry in published for _, group in by_grade(entry)]
    n_sorted = sum(bool(group.is_monotonic_decreasing) for group in groups)
    rising = sum((group > 0).sum() for group in groups) / sum(map(len, groups))
    return Claim(
        "The pairs are those with the largest score change, not a random sample",
        "within each grade the file is in order of `score_delta`, largest first, and breaks off; a "
        "random sample would also hold pairs whose score fell",
        f"{n_sorted} of {len(groups)} lists in this order; score rose in {rising:.2%} of the pairs",
        n_sorted == len(groups) and rising > 0.99,
    )


def selection_is_uneven(published: Sequence[Published]) -> Claim:
    """The choice is far sharper for low grades, so grades cannot be compared."""
    kept = {grade: 1000 / n for grade, n in N_JUDGED.items()}
    smallest = {
        entry.ranker: [group["score_delta"].min() for _, group in by_grade(entry)]
        for entry in published
        if entry.axiom == "TFC1"
    }
    figure = "; ".join(
        f"{ranker}: {', '.join(f'{value:.2f}' for value in values)}"
        for ranker, values in smallest.items()
    )
    shares = ", ".join(f"{kept[grade]:.0%}" for grade in GRADES)
    return Claim(
        "The choice is sharper the lower the grade, so that grades cannot be compared",
        "smallest score change kept, TFC1, grades 0 to 3; 1,000 pairs of each grade's judged ones "
        f"are {shares} of them",
        figure,
        all(np.all(np.diff(values) < 0) for values in smallest.values()),
    )


def few_queries_weigh_much(published: Sequence[Published]) -> Claim:
    """Some queries supply many of a grade's pairs."""
    n_queries = [entry.pairs["qid"].nunique() for entry in published]
    shares = [
        group["qid"].value_counts(normalize=True).iloc[0]
        for entry in published
        for _, group in by_grade(entry)
    ]
    return Claim(
        "Pairs are clustered in queries, unevenly",
        "count `qid`",
        f"{min(n_queries)}-{max(n_queries)} queries for 4,000 pairs; one query supplies up to "
        f"{max(shares):.0%} of a grade",
        max(shares) > 0.1,
    )


def stemming_decides_tdc(published: Sequence[Published]) -> Claim:
    """TDC's words are those that a stemmer changes."""
    shares = {axiom: [] for axiom in ("TDC", "TFC1")}
    chance = []
    for entry in published:
        chosen = choices(entry)
        shares[entry.axiom].append(chosen["term"].map(is_changed).mean())
        chance.append(chosen["query"].map(lambda query: np.mean(tokens_changed(query))).mean())
    low, high = min(shares["TDC"]), max(shares["TDC"])
    return Claim(
        "TDC's terms are words that Porter's stemmer changes, as they would be if unstemmed words "
        "were looked up in a stemmed index (what is not in it counts as never seen, so as rarest)",
        "share of chosen words (once for each query) that differ from their stem; all words of "
        "these queries for comparison",
        f"TDC {low:.0%}-{high:.0%}, TFC1 {min(shares['TFC1']):.0%}-{max(shares['TFC1']):.0%}, "
        f"all words {min(chance):.0%}-{max(chance):.0%}",
        low > max(shares["TFC1"]) + 0.2,
    )


def tdc_is_seldom_rarest(published: Sequence[Published]) -> Claim:
    """TDC's words are seldom the most discriminative ones."""
    texts = pd.concat([entry.pairs[["docno", "text"]] for entry in published])
    texts = texts.drop_duplicates("docno")["text"]
    frequency = Counter(term for text in texts for term in set(terms(text)))
    shares: dict[str, list[float]] = {}
    for entry in published:
        rare = [
            is_rarest(*pair, frequency) for pair in choices(entry)[["query", "term"]].to_numpy()
        ]
        known = [value for value in rare if value is not None]
        shares.setdefault(entry.axiom, []).append(float(np.mean(known)))
    words = sorted(
        {word for entry in published if entry.axiom == "TDC" for word in stop_words(entry)}
    )
    tdc, tfc1 = (f"{min(shares[a]):.0%}-{max(shares[a]):.0%}" for a in ("TDC", "TFC1"))
    return Claim(
        "TDC's terms are mostly not the most discriminative of their query",
        f"document frequencies of stemmed terms in the {len(texts):,} passages of the files; share "
        "of queries (with two terms or more) whose rarest term was added",
        f"TDC {tdc}, TFC1 (a random term) {tfc1}; TDC also chose {', '.join(map(repr, words))}",
        max(shares["TDC"]) < 0.6,
    )


def choices(entry: Published) -> pd.DataFrame:
    """Each query with each word that was added for it, once."""
    return entry.pairs.assign(term=entry.terms).drop_duplicates(["qid", "term"])


def is_changed(word: str) -> bool:
    """Whether Porter's stemmer changes a word."""
    return stemmer("porter").stemWord(word.lower()) != word.lower()


def tokens_changed(query: str) -> list[bool]:
    """Whether the stemmer changes each word (or mark) of a query."""
    return [is_changed(word) for word in _TOKEN.findall(query)]


def is_rarest(query: str, word: str, frequency: Counter) -> bool | None:
    """Whether a word is its query's rarest term; None where the query has only one."""
    of_query = set(terms(query))
    if len(of_query) < 2:
        return None
    rarest = min(frequency[term] for term in of_query)
    return any(frequency[term] <= rarest for term in terms(word))


def stop_words(entry: Published) -> set[str]:
    """Added words that are function words or marks."""
    return {word for word in entry.terms if not terms(word)}
