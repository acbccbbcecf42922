"""What the sentences of our report claim, each a test of the results; and the numbers in them."""

from collections.abc import Callable, Sequence

from study.plan import CHECKS, END, PLACES, RANKED_BY, STUDIED
from study.results import MissingEstimate, Results, Value
from study.tables import name_edit, show, strongest, tell_skipped

Claim = Callable[[Results], bool]
BOTH = ("dot", "cat")
EDITS = [(axiom, place) for axiom in STUDIED for place in PLACES]
APPENDED = [("TFC1", END)]
MAPS = [("", place) for place in PLACES]
CHECKED = [(check.axiom, END, check.difference) for check in CHECKS]
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


def _every_check_is_there(results: Results) -> bool:
    return len(checks(results)) == len(BOTH) * len(CHECKED)


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


def _number(results: Results, kind: str, share: float) -> str:
    return str(int(share * results.n_heads(kind)))


def circuits(
    results: Results, quantity: str, share: float, kinds: Sequence[str] = BOTH
) -> list[Value]:
    """What circuits of a share of the heads do, for each ranker and axiom."""
    return [
        results.get(kind, quantity, axiom, END, _number(results, kind, share))
        for kind in kinds
        for axiom in STUDIED
    ]


def _is_more_than_random(
    protocol: str, share: float, kinds: Sequence[str] = BOTH
) -> Callable[[Results], list[bool]]:
    return lambda results: [
        value.low > band.high
        for value, band in zip(
            circuits(results, protocol, share, kinds),
            circuits(results, f"{protocol} at random", share, kinds),
            strict=True,
        )
    ]


def _a_tenth_restores(results: Results) -> bool:
    return all(_is_more_than_random("restored", 0.1)(results))


def _a_half_keeps(results: Results) -> bool:
    return all(_is_more_than_random("survives", 0.5, ["cat"])(results))


def _a_half_was_not_shown_to_keep(results: Results) -> bool:
    return not any(_is_more_than_random("survives", 0.5, ["dot"])(results))


def at_least(protocol: str, share: float, kind: str, least: float) -> Claim:
    """Claim that all intervals of circuits lie above a value."""
    return lambda results: all(v.low > least for v in circuits(results, protocol, share, [kind]))


def at_most(protocol: str, share: float, kind: str, most: float) -> Claim:
    """Claim that all intervals of circuits lie below a value."""
    return lambda results: all(v.high < most for v in circuits(results, protocol, share, [kind]))


def ranked(results: Results, quantity: str, kind: str) -> list[Value]:
    """An estimate about every ranking by a circuit that was made."""
    return [v for axiom in STUDIED for v in results.rows(kind, quantity, axiom, END).values()]


def _every_circuit_ranks_worse(results: Results) -> bool:
    lost = [ranked(results, "nDCG@10, circuit minus whole", kind) for kind in BOTH]
    return all(lost) and all(value.is_below for of_kind in lost for value in of_kind)


def _every_ranking_is_there(results: Results) -> bool:
    numbers = [len(ranked(results, "tau", kind)) for kind in BOTH]
    return numbers == [len(RANKED_BY) * len(STUDIED)] * len(BOTH)


def _both_are_made_from_one_model(results: Results) -> bool:
    # "embedded" is all-MiniLM-L6-v2 for either kind, see `mechir_edu.rankers.embedded`.
    return [results.name(kind) for kind in results.kinds] == ["embedded"] * len(BOTH)


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
    "every check is there": _every_check_is_there,
    "the checks have all pairs": _checks_have_all_pairs,
    "mask agrees least": _mask_agrees_least,
    "a tenth of the heads restores more than at random": _a_tenth_restores,
    "a fifth of the cross-encoder's heads restores nine tenths": at_least(
        "restored", 0.2, "cat", 0.9
    ),
    "less than a quarter survives with them": at_most("survives", 0.2, "cat", 0.25),
    "of half of the cross-encoder's heads seven tenths survive at most": at_most(
        "survives", 0.5, "cat", 0.7
    ),
    "a random half of the cross-encoder's heads keeps less": _a_half_keeps,
    "all of the bi-encoder's heads restore less than four fifths": at_most(
        "restored", 1.0, "dot", 0.8
    ),
    "a part survives without the bi-encoder's heads": at_least("survives", 0.0, "dot", 0.0),
    "half of the bi-encoder's heads were not shown to keep more than random ones": (
        _a_half_was_not_shown_to_keep
    ),
    "every circuit ranks worse than the whole ranker": _every_circuit_ranks_worse,
    "every ranking by a circuit is there": _every_ranking_is_there,
    "one ranker of each kind, both made from one model": _both_are_made_from_one_model,
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


def _agreement(results: Results, kind: str) -> str:
    names = ("within an axiom", "between axioms")
    within, between = (results.get(kind, f"agreement {name}", "", END).value for name in names)
    return f"{within:.2f} within an axiom and {between:.2f} between the two"


def _lowest_check(results: Results) -> str:
    correlations = {name_edit(*key): value for key, value in checks(results).items()}
    lowest = min(correlations, key=lambda name: correlations[name].value)
    return f"{show(correlations[lowest], 2)} ({lowest})"


def _count(results: Results, quantity: str) -> str:
    """A number that both rankers share."""
    (number,) = {f"{value.value:.0f}" for value in values(results, quantity, [()])}
    return number


def _percents(of: Sequence[Value]) -> str:
    """Write values as percent, from the least to the greatest."""
    least, greatest = (f"{pick(value.value for value in of):.0%}" for pick in (min, max))
    return least if least == greatest else f"{least[:-1]} to {greatest}"


def _taus(results: Results, kind: str) -> str:
    if not (taus := [value.value for value in ranked(results, "tau", kind)]):
        raise MissingEstimate(f"there is no ranking by a circuit of {kind}")
    return f"{min(taus):.2f} to {max(taus):.2f}"


NUMBERS: dict[str, Callable[..., str]] = {
    "name": lambda results, kind: f"`{results.name(kind)}`",
    "heads": lambda results, kind: str(results.n_heads(kind)),
    "carry": lambda results, *cell: str(results.carries(*cell).sum()),
    "carry built": lambda results, *cell: str(results.carries(*cell)[BUILT:].sum()),
    "strongest": _strongest,
    "share": _share,
    "count": lambda results, kind, quantity: f"{results.get(kind, quantity).value:.0f}",
    "agreement": _agreement,
    "correlations": _correlations,
    "checks": lambda results: str(len(checks(results))),
    "lowest check": _lowest_check,
    "skipped": tell_skipped,
    "circuit pairs": lambda results: _count(results, "pairs of circuits"),
    "circuits": lambda results, kind, protocol, share: _percents(
        circuits(results, protocol, float(share), [kind])
    ),
    "taus": _taus,
}
