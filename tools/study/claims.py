"""What the sentences of our report claim, each a test of the results; and the numbers in them."""

from collections.abc import Callable, Sequence

from study.plan import CHECKS, END, PLACES, STUDIED
from study.results import Results, Value
from study.tables import name_edit, show, strongest, tell_skipped

Claim = Callable[[Results], bool]
BOTH = ("dot", "cat")
EDITS = [(axiom, place) for axiom in STUDIED for place in PLACES]
APPENDED = [("TFC1", END)]
MAPS = [("", place) for place in PLACES]
CHECKED = [(check.axiom, END, check.difference) for check in CHECKS]
LEFT_OUT = {("dot", "TDC", 'filler "neutral"'), ("dot", "TDC", "other direction")}
BUILT = 6  # the first block of the cross-encoder that was set up by hand to compare two means
GRADES = [(*edit, str(grade)) for edit in EDITS for grade in range(4)]
DL = ["msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged"]
# What section 6 calls answered.
ANSWERED = {
    "over control": EDITS,
    "over control in grade": GRADES,
    "change": APPENDED,
    "control, end minus start": APPENDED,
    "over control, end minus start": APPENDED,
    "agreement, within minus between": MAPS,
    "correlation of collections": EDITS,
}


def values(
    results: Results, quantity: str, where: Sequence[tuple[str, ...]], kinds: Sequence[str] = BOTH
) -> list[Value]:
    """Estimates of a quantity; all of them have to be there."""
    return [results.get(kind, quantity, *at) for kind in kinds for at in where]


def above(quantity: str, where: Sequence[tuple[str, ...]], kinds: Sequence[str] = BOTH) -> Claim:
    """Claim that all intervals lie above zero."""
    return lambda results: all(v.is_above for v in values(results, quantity, where, kinds))


def below(quantity: str, where: Sequence[tuple[str, ...]], kinds: Sequence[str] = BOTH) -> Claim:
    """Claim that all intervals lie below zero."""
    return lambda results: all(v.is_below for v in values(results, quantity, where, kinds))


def _last_layer_leads(results: Results) -> bool:
    last = results.made_of["dot"]["n_layers"] - 1
    rows = [row for axiom in STUDIED for row in strongest(results, "dot", axiom, END)]
    return all(row["layer"] == last and row["recovery"] > 0 for row in rows)


def _one_head_leads(results: Results) -> bool:
    pairs = [strongest(results, "cat", axiom, END, 2) for axiom in STUDIED]
    heads = {(first["layer"], first["head"]) for first, _ in pairs}
    return len(heads) == 1 and all(f["recovery"] > 2 * abs(s["recovery"]) for f, s in pairs)


def _no_head_turns(results: Results) -> bool:
    where = [(*edit, "other way") for edit in EDITS]
    return all(count.value == 0 for count in values(results, "significant heads", where))


def _leader_was_not_built(results: Results) -> bool:
    rows = [strongest(results, "cat", axiom, END, 1)[0] for axiom in STUDIED]
    return all(row["layer"] < BUILT for row in rows)


def _is_open_for_the_cross_encoder(results: Results) -> bool:
    (change,) = values(results, "control change", APPENDED, ["cat"])
    return not (change.is_above or change.is_below)


def _is_small_for_the_cross_encoder(results: Results) -> bool:
    sides = [(*APPENDED[0], side) for side in ("above", "below")]
    above, below = values(results, "control change within margin", sides, ["cat"])
    return above.is_above and below.is_below


def checks(results: Results) -> dict[tuple[str, ...], Value]:
    """Correlations of the checks that are there, by ranker, axiom and difference."""
    found = {
        (kind, axiom, difference): results.find(
            kind, "correlation of check", axiom, END, difference
        )
        for kind in BOTH
        for axiom, _, difference in CHECKED
    }
    return {key: value for key, value in found.items() if value is not None}


def _two_checks_are_left_out(results: Results) -> bool:
    planned = {(kind, axiom, difference) for kind in BOTH for axiom, _, difference in CHECKED}
    return planned - checks(results).keys() == LEFT_OUT


def _checks_have_all_pairs(results: Results) -> bool:
    n, checked = (values(results, quantity, [()]) for quantity in ("pairs", "check pairs"))
    return [count.value for count in n] == [count.value for count in checked]


def _mask_agrees_least(results: Results) -> bool:
    by_edit: dict[tuple[str, str], dict[str, float]] = {}
    for (kind, axiom, difference), value in checks(results).items():
        by_edit.setdefault((kind, axiom), {})[difference] = value.value
    return all(
        min(of_edit, key=of_edit.__getitem__) == 'filler "mask"' for of_edit in by_edit.values()
    )


def _rest_is_answered(results: Results) -> bool:
    every = [v for quantity, where in ANSWERED.items() for v in values(results, quantity, where)]
    return all(estimate.is_above or estimate.is_below for estimate in every)


def _all_pairs_are_there(results: Results) -> bool:
    n, planned = ([v.value for v in values(results, q, [()])] for q in ("pairs", "planned pairs"))
    return n == planned


def _same_sources(results: Results) -> bool:
    queries = {count.value for count in values(results, "queries", [()])}
    skipped = {tell_skipped(results, kind) for kind in BOTH}
    same = len(queries) == len(skipped) == 1
    return same and all(results.made_of[kind]["collections"] == DL for kind in BOTH)


CLAIMS: dict[str, Claim] = {
    "both rankers obey both axioms at both ends": above("over control", EDITS),
    "the bi-encoder's strongest heads are in its last layer": _last_layer_leads,
    "one head of the cross-encoder recovers twice as much as any other": _one_head_leads,
    "an appended term raises both scores": above("change", APPENDED),
    "an appended term raises the score in every grade": above(
        "change in grade", [("TFC1", END, str(grade)) for grade in range(4)]
    ),
    "a neutral word at the end lowers the bi-encoder's score": below(
        "control change", APPENDED, ["dot"]
    ),
    "whether it lowers the cross-encoder's is open": _is_open_for_the_cross_encoder,
    "it changes the cross-encoder's by less than a tenth": _is_small_for_the_cross_encoder,
    "the strongest head is in no block built by hand": _leader_was_not_built,
    "a neutral word costs less at the end": above("control, end minus start", APPENDED),
    "the effect is smaller at the end": below("over control, end minus start", APPENDED),
    "heads differ between the axioms": above("agreement, within minus between", MAPS),
    "heads agree between the collections": above("correlation of collections", EDITS),
    "no head turns in the second collection": _no_head_turns,
    "every check correlates": lambda results: all(v.is_above for v in checks(results).values()),
    "two checks are left out": _two_checks_are_left_out,
    "the checks have all pairs": _checks_have_all_pairs,
    "mask agrees least": _mask_agrees_least,
    "the rest is answered": _rest_is_answered,
    "every head was patched alone": lambda results: all(
        results.made_of[kind]["method"] == "exact" for kind in BOTH
    ),
    "both rankers have all pairs": _all_pairs_are_there,
    "it was computed on a GPU": lambda results: all(
        results.made_of[kind]["device"] == "cuda" for kind in BOTH
    ),
    "both rankers had the same queries and skipped the same": _same_sources,
}


def _strongest(results: Results, *cell: str) -> str:
    (row,) = strongest(results, *cell, 1)
    return f"{row['layer']}.{row['head']}"


def _share(results: Results, *cell: str) -> str:
    (row,) = strongest(results, *cell, 1)
    return f"{row['recovery']:.0%}"


def _correlations(results: Results) -> str:
    correlations = [v.value for v in values(results, "correlation of collections", EDITS)]
    return f"{min(correlations):.2f} to {max(correlations):.2f}"


def _lowest_check(results: Results) -> str:
    correlations = {name_edit(*key): value for key, value in checks(results).items()}
    lowest = min(correlations, key=lambda name: correlations[name].value)
    return f"{show(correlations[lowest], 2)} ({lowest})"


NUMBERS: dict[str, Callable[..., str]] = {
    "name": lambda results, kind: f"`{results.name(kind)}`",
    "heads": lambda results, kind: str(results.n_heads(kind)),
    "carry": lambda results, *cell: str(results.carries(*cell).sum()),
    "carry built": lambda results, *cell: str(results.carries(*cell)[BUILT:].sum()),
    "strongest": _strongest,
    "share": _share,
    "count": lambda results, kind, quantity: f"{results.get(kind, quantity).value:.0f}",
    "correlations": _correlations,
    "checks": lambda results: str(len(checks(results))),
    "lowest check": _lowest_check,
    "skipped": tell_skipped,
}
