"""Write the page that compares searched orders of heads with the order of largest effects.

    python tools/compare_orders.py --into docs/study/orders.md

The data, docs/study/orders.json, hold for each query the sums of effects over its pairs, and the
measures of each ranking; no passages. A test compares the page with what this script makes of them.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mechir_edu import stats
from mechir_edu.files import write_whole
from mechir_edu.plots.words import markdown_table, with_interval

DATA = Path(__file__).resolve().parents[1] / "docs/study/orders.json"
SHOWN = (8, 16, 24, 32, 40, 48, 64)
SEARCHED = ("greedy", "backward", "pruning")
PROTOCOLS = ("restored", "survives")
WAYS = {"query_to_document": "query to document", "document_to_query": "document to query"}

TEXT = """# Searched circuits against the largest effects

Which order of heads lets most survive? In `me.circuit`, "exact" orders them by their effects alone;
"greedy", "backward" and "pruning" search by measuring whole circuits
(`mechir_edu.patching.circuits.orders`). Here all of them order the 96 heads of the embedded
cross-encoder on the same {n_ranked} pairs of TREC DL 2019, and their first heads are measured on
{n_pairs} pairs of TREC DL 2020 ({n_queries} queries), so no query both chose heads and tested them.
[The circuits' page](circuits.md) says what *restored* and *survives* mean; its circuits were
ordered by effects on all pairs of DL 2019.

Intervals are over queries, 95 % each by itself. *At random* is the mean of {n_random} orders, with
the range that nine in ten of them fill. Everything was measured on one {device}, in batches of all
pairs. The package's own code, on this device, differs from these scores by {difference:.0e} at
most; a small `me.circuit` there differed from the CPU's by {from_cpu:.0e}.

{circuits}

With TFC1, more survives after pruning than with the largest effects at {better} of {n_sizes} sizes,
by an interval that leaves out 0. Pruning measured {pruning_sets:,} sets, "greedy" {greedy_sets:,},
"backward" {backward_sets:,}. More than 1 can survive, for heads that work against the change are
dropped first.

## Ranking by a circuit alone

The BM25 top 30 of the {n_ranked_queries} judged queries of DL 2020 were ranked by the first heads
of each order under TFC1, with all other heads at their means over 64 texts. The whole ranker
reaches nDCG@10 {whole}, BM25 {bm25}.

{rankings}

## Ranking by attention alone

Each head's attention mass from query words to document words, or back, also ranks
(`mechir_edu.attention_rankers`). Of these 96 rankings for each way:

{attention}

The best head is chosen and reported on the same queries, so its figure is too high for new ones.
{above} of the {n_attention} rankings exceed BM25's nDCG@10.
"""


def page(data: Mapping[str, Any]) -> str:
    """The whole page, from the content of `DATA`."""
    tfc1, ranked = data["axioms"]["TFC1"], data["rankings"]
    sets = {f"{name}_sets": tfc1["orders"][name]["sets"] for name in SEARCHED}
    gains = [gain(data, "TFC1", "pruning", size) for size in SHOWN]
    bm25 = np.mean(ranked["BM25"])
    of_heads = [np.mean(v) for of_way in ranked["attention"].values() for v in of_way.values()]
    text = TEXT.format(
        n_ranked=data["n_ranked"],
        n_pairs=tfc1["n_pairs"],
        n_queries=len(tfc1["queries"]),
        n_random=len(tfc1["random"]),
        device=data["device"],
        difference=data["largest difference from mechir_edu.patching.circuits.measure"],
        from_cpu=data["largest difference of me.circuit on this device from the CPU"],
        circuits="\n\n".join(circuits(data, axiom) for axiom in data["axioms"]),
        better=sum(bool(low > 0) for _, low, _ in gains),
        n_sizes=len(gains),
        n_ranked_queries=ranked["n_queries"],
        whole=told(mean_of(ranked["whole"])),
        bm25=told(mean_of(ranked["BM25"])),
        rankings=rankings(ranked),
        attention=attention(ranked),
        above=sum(bool(value > bm25) for value in of_heads),
        n_attention=len(of_heads),
        **sets,
    )
    return text


def share(data: Mapping[str, Any], axiom: str, effects: np.ndarray) -> tuple[float, float, float]:
    """Ratio of means of effects, summed by query, to the score change; value, low, high."""
    change, queries = np.array(data["axioms"][axiom]["change"]), data["axioms"][axiom]["queries"]
    recovery = stats.recovery(effects, np.zeros_like(change), change, query_ids=queries, axes=())
    return float(recovery.value), float(recovery.low), float(recovery.high)


def effects_of(
    data: Mapping[str, Any], axiom: str, order: str, size: int, protocol: str = "survives"
) -> np.ndarray:
    """Effects of an order's first heads, summed by query."""
    effects = data["axioms"][axiom]["orders"][order]["effects"]
    return np.array(effects[PROTOCOLS.index(protocol)][data["sizes"].index(size)])


def gain(data: Mapping[str, Any], axiom: str, order: str, size: int) -> tuple[float, float, float]:
    """How much more survives than with the largest effects; value, low, high."""
    sides = (effects_of(data, axiom, name, size) for name in (order, "exact"))
    return share(data, axiom, np.subtract(*sides))


def circuits(data: Mapping[str, Any], axiom: str) -> str:
    """Tables of one axiom: both protocols, and what searches gain."""
    of_axiom, parts = data["axioms"][axiom], [f"## {axiom}"]
    head = [*(f"{size} heads" for size in SHOWN)]
    for protocol in PROTOCOLS:
        rows = [
            [
                order,
                *(
                    told(share(data, axiom, effects_of(data, axiom, order, n, protocol)))
                    for n in SHOWN
                ),
            ]
            for order in of_axiom["orders"]
        ]
        draws = np.array(of_axiom["random"])[:, PROTOCOLS.index(protocol)]
        draws = draws[:, [data["sizes"].index(size) for size in SHOWN]]
        band = zip(draws.mean(axis=0), *np.quantile(draws, [0.05, 0.95], axis=0), strict=True)
        rows.append(["at random", *map(told, band)])
        parts.append(markdown_table([protocol, *head], rows))
    rows = [
        [name, *(told(gain(data, axiom, name, n), sign="+") for n in SHOWN)] for name in SEARCHED
    ]
    parts.append(markdown_table(["survives, minus exact's", *head], rows))
    return "\n\n".join(parts)


def rankings(ranked: Mapping[str, Any]) -> str:
    """Kendall's tau to the whole ranker, and nDCG@10, of each order's first heads."""
    sizes = [f"{size} heads" for size in next(iter(ranked["circuits"].values()))]
    tables = [
        markdown_table(
            [name, *sizes],
            [
                [order, *(told(mean_of(values[measure])) for values in by_size.values())]
                for order, by_size in ranked["circuits"].items()
            ],
        )
        for measure, name in (("tau", "Kendall's tau"), ("nDCG@10", "nDCG@10"))
    ]
    return "\n\n".join(tables)


def attention(ranked: Mapping[str, Any]) -> str:
    """The best head and the median of each way."""
    rows = []
    for way, of_way in ranked["attention"].items():
        means = {head: float(np.mean(values)) for head, values in of_way.items()}
        best = max(means, key=means.__getitem__)
        median = f"{np.median(list(means.values())):.2f}"
        rows.append([WAYS[way], best, told(mean_of(of_way[best])), median])
    return markdown_table(["attention", "best head", "its nDCG@10", "median head's"], rows)


def mean_of(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over queries; value, low, high."""
    queries = [str(place) for place in range(len(values))]
    mean = stats.mean_change(np.array(values), query_ids=queries)
    return float(mean.value), float(mean.low), float(mean.high)


def told(cell: Sequence[float], sign: str = "") -> str:
    """As "0.42 [0.36, 0.48]"."""
    return with_interval(*(round(number, 2) + 0.0 for number in cell), digits=2, sign=sign)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, required=True)
    args = parser.parse_args()
    write_whole(args.into, page(json.loads(DATA.read_text("utf-8"))).encode())


if __name__ == "__main__":
    main()
