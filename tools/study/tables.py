"""The results as tables in Markdown and as figures, each with a text that says what it shows.

Every table has two lengths: short, for the two pages, of the edits at the end of the document
without grades; and full.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mechir_edu import plots
from mechir_edu.patching.circuits.result import PROTOCOLS
from mechir_edu.plots.words import markdown_table, top_heads, with_interval
from mechir_edu.rankers.kinds import find_kind
from mechir_edu.stats.recovered import Recovery
from study.part import Part
from study.plan import BY, CHECKS, CONTROL_OF, END, MAIN, PLACES, STUDIED, Condition
from study.results import Results, Value

Write = Callable[[Value], str]
Columns = Mapping[str, tuple[str, str, Write]]  # header: quantity, detail, how it is written
Where = tuple[str, str]  # axiom and place
DIGEST = "Data SHA-256"  # a PNG's name for it


def show(estimate: Value, digits: int = 3) -> str:
    """Write an estimate with its interval, where that has bounds.

    Examples
    --------
    >>> show(Value(0.1234, 0.1, 0.15))
    '+0.123 [+0.100, +0.150]'
    """
    if not np.isfinite([estimate.low, estimate.high]).all():
        return f"{estimate.value:+.{digits}f} (no bounded interval)"
    return with_interval(estimate.value, estimate.low, estimate.high, digits)


def name_heads(heads: Iterable[Iterable[int]]) -> str:
    """Name heads as layer.head."""
    return ", ".join(f"{layer}.{head}" for layer, head in heads)


def name_edit(kind: str, *where: str) -> str:
    """Name an edit of a ranker: its kind, axiom and place."""
    return ", ".join([find_kind(kind).kind_name, *filter(None, where)])


def strongest(results: Results, kind: str, axiom: str, place: str, k: int = 3) -> list[dict]:
    """The k heads of largest recovery, in size."""
    return top_heads(results.recovery(kind, axiom, place), k).to_dict("records")


def _count(estimate: Value) -> str:
    return f"{estimate.value:.0f}"


def _plain(estimate: Value) -> str:
    return f"{estimate.value:.2f}"


def _plain_ends(estimate: Value) -> str:
    if not np.isfinite([estimate.low, estimate.high]).all():
        return _plain(estimate)
    return f"{_plain(estimate)} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _below(estimate: Value) -> str:
    return f"below {estimate.value:.2g}"


def _two_digits(estimate: Value) -> str:
    return show(estimate, 2)


def _share(estimate: Value) -> str:
    return f"{estimate.value:.0%} [{estimate.low:.0%}, {estimate.high:.0%}]"


def _or_dash(estimate: Value | None, write: Write) -> str:
    return "-" if estimate is None else write(estimate)


def _edits(full: bool) -> list[Where]:
    return [(axiom, place) for place in (PLACES if full else [END]) for axiom in STUDIED]


@dataclass(frozen=True)
class Grid:
    """A table of one row for each ranker and edit, with a dash where there is no estimate.

    Attributes
    ----------
    title : of the first column.
    columns : of both lengths.
    more : columns of the full table.
    of_grades : columns for each grade in the full table: the header's beginning, the quantity.
    where : edits; all of them in the full table when omitted, else those at the end.
    """

    title: str
    columns: Columns
    more: Columns = field(default_factory=dict)
    of_grades: tuple[str, str] | None = None
    where: Sequence[Where] | None = None

    def __call__(self, results: Results, full: bool = True) -> str:
        """Lay the table out."""
        columns = {**self.columns, **(self.more if full else {})}
        if full and self.of_grades:
            header, quantity = self.of_grades
            grades = (g for kind in results.kinds for g in results.rows(kind, "pairs of grade"))
            columns |= {f"{header}, grade {g}": (quantity, g, show) for g in grades}
        rows = []
        for kind, at in ((k, at) for k in results.kinds for at in self.where or _edits(full)):
            row = [
                _or_dash(results.find(kind, quantity, *at, detail), write)
                for quantity, detail, write in columns.values()
            ]
            rows.append([name_edit(kind, *at), *row])
        return markdown_table([self.title, *columns], rows)


SCORES = Grid(
    "score change",
    {
        "query term": ("change", "", show),
        "neutral word": ("control change", "", show),
        "effect over the control": ("over control", "", show),
    },
    of_grades=("effect over the control", "over control in grade"),
)
PENALTY = Grid(
    "an appended query term",
    {
        "documents whose score the term lowers": ("share lowered", "", _share),
        "neutral word, end minus start": ("control, end minus start", "", show),
        "effect over the control, end minus start": ("over control, end minus start", "", show),
    },
    of_grades=("score change", "change in grade"),
    where=[("TFC1", END)],
)
COLLECTIONS = Grid(
    "rank correlation of heads",
    {
        "between the collections": ("correlation of collections", "", _two_digits),
        "between random halves": ("correlation of halves", "", _plain),
    },
    more={
        "significant heads in the first": ("significant heads", "first", _count),
        "the same way in the second": ("significant heads", "same way", _count),
        "the other way": ("significant heads", "other way", _count),
    },
)
OTHER_WAYS = Grid(
    "rank correlation with the study's heads",
    {check.difference: ("correlation of check", check.difference, _two_digits) for check in CHECKS},
    where=_edits(False),
)
POWER = Grid(
    "missed by more than one study in five",
    {
        "a true effect over the control": ("detectable over control", "", _below),
        "a typical head's true recovery": ("detectable recovery", "", _below),
    },
    where=_edits(False),
)


def axioms(results: Results, full: bool = True) -> str:
    """TDC's map of heads against TFC1's."""
    columns = {
        "within an axiom": ("agreement within an axiom", _plain),
        "between the two": ("agreement between axioms", _plain),
        "difference": ("agreement, within minus between", show),
        "documents": ("documents with two words", _count),
        "heads whose recovery differs": ("heads that differ", _count),
    }
    rows = []
    for kind in results.kinds:
        n_pairs, n_heads = results.get(kind, "pairs").value, results.n_heads(kind)
        for place in PLACES if full else [END]:
            row = [_or_dash(results.find(kind, q, "", place), w) for q, w in columns.values()]
            row[-2:] = [f"{row[-2]} of {n_pairs:.0f}", f"{row[-1]} of {n_heads}"]
            differing = results.rows(kind, "recovery, TDC minus TFC1", "", place).items()
            named = [f"{head}: {show(f, 2)}" for head, f in differing][: 3 if full else 1]
            rows.append([name_edit(kind, place), *row, "; ".join(named) or "-"])
    header = ["rank correlation of heads", *columns, "the largest, TDC minus TFC1"]
    return markdown_table(header, rows)


def heads(results: Results, full: bool = True) -> str:
    """How many heads move the score, carry the effect or oppose it, and the strongest two.

    In full also what the control does by head: how many heads it moves the score through, and its
    largest effect as a share of the axiom's largest.
    """
    header = ["heads that", "move the score", "carry the effect", "also at the other end"]
    rows = []
    for kind, (axiom, place) in ((kind, at) for kind in results.kinds for at in _edits(full)):
        cell = (kind, axiom, place)
        (elsewhere,) = {*PLACES} - {place}
        moves, carries = results.moves(*cell), results.carries(*cell)
        both = carries & results.carries(kind, axiom, elsewhere)
        counts = [f"{moves.sum()} of {moves.size}", _named(carries), str(both.sum())]
        best = [": ".join(_head_and_recovery(row)) for row in strongest(results, *cell, 2)]
        rows.append([name_edit(*cell), *counts, _named(results.opposes(*cell)), *best])
        if full:
            control = (kind, CONTROL_OF[axiom], place)
            largest = [np.abs(results.column(*c, "effect")).max() for c in (control, cell)]
            n_moved = f"{results.moves(*control).sum()} of {moves.size}"
            rows[-1] += [n_moved, f"{largest[0] / largest[1]:.0%}"]
    header += ["oppose it", "recover most", "second"]
    more = ["the control moves it through", "control's largest effect, of the axiom's"]
    return markdown_table([*header, *(more if full else [])], rows)


def _named(chosen: np.ndarray, at_most: int = 4) -> str:
    """Count heads, and name them where they are few enough to be read."""
    places = np.argwhere(chosen).tolist()
    return f"{len(places)}" + f" ({name_heads(places)})" * (0 < len(places) <= at_most)


def _head_and_recovery(row: dict) -> tuple[str, str]:
    recovery = show(Value(row["recovery"], row["low"], row["high"]), 2)
    return name_heads([(row["layer"], row["head"])]), recovery


def strongest_heads(results: Results, full: bool = True) -> str:
    """The three heads of largest recovery under each edit."""
    header = ["strongest heads", "layer.head", "recovery", "q", "effect on the score"]
    rows = []
    for cell in ((kind, *at) for kind in results.kinds for at in _edits(full)):
        effects = [results.column(*cell, name) for name in ("effect", "contrast")]
        for row in strongest(results, *cell):
            values = [f"{effect[row['layer'], row['head']]:+.4f}" for effect in effects]
            rows.append([name_edit(*cell), *_head_and_recovery(row), f"{row['q']:.2g}", *values])
    return markdown_table([*header, "minus control's"], rows)


def circuits(results: Results, full: bool = True) -> str:
    """What the first heads of each axiom's order restore, and what survives with them alone.

    In full with intervals, the empty circuit, all sizes, and circuits of random heads.
    """
    shares = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if full else (0.1, 0.2, 0.5, 1.0)
    write = _plain_ends if full else _plain
    rows = []
    for kind, axiom, protocol in product(results.kinds, STUDIED, PROTOCOLS):
        numbers = [str(int(share * results.n_heads(kind))) for share in shares]
        at_random = [protocol, f"{protocol} at random"] if full else [protocol]
        for quantity in at_random:
            found = [results.find(kind, quantity, axiom, END, number) for number in numbers]
            cells = [_or_dash(value, write) for value in found]
            for area in ("CPR", "CMD"):
                of_area = results.find(kind, area, axiom, END, protocol)
                cells.append(_or_dash(of_area if quantity == protocol else None, write))
            rows.append([name_edit(kind, axiom, quantity), *cells])
    sizes = [f"{share:.0%} of heads" for share in shares]
    return markdown_table(["share of the score change", *sizes, "CPR", "CMD"], rows)


def rankings(results: Results, full: bool = True) -> str:
    """How the second collection is ranked by circuits alone."""
    rows = []
    for kind, axiom in product(results.kinds, STUDIED):
        for number in results.rows(kind, "tau", axiom, END):
            names = ("tau", "nDCG@10, circuit minus whole")
            values = [results.get(kind, name, axiom, END, number) for name in names]
            whole = results.get(kind, "nDCG@10 of the whole", axiom, END, number)
            cells = [*map(_two_digits, values), _plain(whole)]
            rows.append([f"{name_edit(kind, axiom)}, {number} of {results.n_heads(kind)}", *cells])
    header = ["ranked by a circuit alone", "Kendall's tau", "change of nDCG@10", "whole ranker's"]
    return markdown_table(header, rows)


def sources(results: Results, full: bool = True) -> str:
    """Pairs of each ranker, what was skipped, and what the results were made with."""
    names = {"layers": "n_layers", "method": "method", "edits": "conditions", "seed": "seed"}
    names |= {"device": "device"}
    names |= {"n": "n", "block": "block", "pairs for checks": "checks"}
    columns = []
    for kind, made in results.made_of.items():
        grades = results.rows(kind, "pairs of grade").items()
        column = {n: _count(results.get(kind, n)) for n in ("pairs", "planned pairs", "queries")}
        column["pairs by grade"] = ", ".join(f"{_count(n)} of {grade}" for grade, n in grades)
        column["skipped"] = tell_skipped(results, kind)
        column |= {header: made[name] for header, name in names.items()}
        column["SHA-256 of the weights"] = f"`{made['checksum'] or 'constructed'}`"
        column["versions"] = ", ".join(f"{name} {v}" for name, v in made["versions"].items())
        columns.append(column)
    rows = [[header, *(column[header] for column in columns)] for header in columns[0]]
    return markdown_table(["", *(_full_name(results, kind) for kind in results.kinds)], rows)


def tell_skipped(results: Results, kind: str) -> str:
    """Why judged pairs were skipped, and how many for each reason."""
    skipped = results.rows(kind, "skipped").items()
    return ", ".join(f"{reason} ({_count(n)})" for reason, n in skipped) or "none"


def _full_name(results: Results, kind: str) -> str:
    return f"{find_kind(kind).kind_name} `{results.name(kind)}`"


TABLES: dict[str, Callable[..., str]] = {
    "scores": SCORES,
    "heads": heads,
    "strongest heads": strongest_heads,
    "penalty": PENALTY,
    "axioms": axioms,
    "collections": COLLECTIONS,
    "checks": OTHER_WAYS,
    "power": POWER,
    "circuits": circuits,
    "rankings": rankings,
    "sources": sources,
}


def all_tables(results: Results) -> str:
    """Every table under its name."""
    parts = [f"## {name}\n\n{table(results)}" for name, table in TABLES.items()]
    return "\n\n".join(["# Tables of the study", *parts]) + "\n"


def heads_drawn(results: Results) -> dict[tuple[str, str], Recovery]:
    """The maps of recovery of both axioms at the end of the document, for each ranker."""
    return {
        (axiom, _full_name(results, kind).replace("`", "")): results.recovery(kind, axiom, END)
        for axiom in STUDIED
        for kind in results.kinds
    }


def draw_heads(results: Results) -> bytes:
    """Draw the figure of heads."""
    return as_png(plots.plot_figure2(heads_drawn(results)), digest_of_heads(results))


def digest_of_heads(results: Results) -> str:
    """SHA-256 of what the figure of heads shows."""
    maps = heads_drawn(results).values()
    return _digest(array for map in maps for array in (map.value, map.low, map.high, map.q))


def describe_heads(results: Results) -> str:
    """Say what the figure of heads shows."""
    texts = [
        plots.alt_text(
            results.recovery(kind, axiom, END), title=f"{axiom}, {_full_name(results, kind)}"
        )
        for axiom in STUDIED
        for kind in results.kinds
    ]
    return " ".join(["Heat maps of recovery per head.", *texts])


def draw_changes(parts: Sequence[Part]) -> bytes:
    """Draw the score changes of all edits against the untouched document, for each ranker."""
    size = (8.5, (1.2 + 0.42 * len(MAIN)) * len(parts))
    figure, axes = plt.subplots(len(parts), 1, figsize=size, squeeze=False, layout="constrained")
    for ax, part in zip(axes[:, 0], parts, strict=True):
        changes = [
            (_label(condition), part.change(condition), part.query_ids) for condition in MAIN
        ]
        plots.plot_score_change(changes, ax=ax)
        ax.set_title(f"{find_kind(part.kind).kind_name} {part.made_of['ranker']}", fontsize=11)
    return as_png(figure, digest_of_changes(parts))


def digest_of_changes(parts: Sequence[Part]) -> str:
    """SHA-256 of what the figure of score changes shows."""
    return _digest(part.change(condition) for part in parts for condition in MAIN)


def describe_changes(results: Results) -> str:
    """Say what the figure of score changes shows."""
    texts = ["Distributions of score changes against the document as it was."]
    for kind in results.kinds:
        means = (
            f"{_label(c)} {show(results.get(kind, 'change, 95 %', c.axiom, c.place))}" for c in MAIN
        )
        texts.append(f"Mean for the {_full_name(results, kind)}: {'; '.join(means)}.")
    return " ".join(texts)


def draw_circuits(parts: Sequence[Part]) -> bytes:
    """Draw what each axiom's circuit restores and what survives with it, for each ranker."""
    size = (6.0 * len(STUDIED), 4.2 * len(parts))
    figure, axes = plt.subplots(
        len(parts), len(STUDIED), figsize=size, squeeze=False, layout="constrained"
    )
    for row, part in zip(axes, parts, strict=True):
        for ax, axiom in zip(row, STUDIED, strict=True):
            if (circuit := part.circuits.get((axiom, BY[0]))) is None:
                ax.set_axis_off()
                continue
            plots.plot_circuit(replace(circuit, ordered_by="effects in the first"), ax=ax)
            ax.set_title(name_edit(part.kind, axiom), fontsize=11)
    return as_png(figure, digest_of_circuits(parts))


def digest_of_circuits(parts: Sequence[Part]) -> str:
    """SHA-256 of what the figure of circuits shows."""
    signed = [c for part in parts for (_, by), c in part.circuits.items() if by == BY[0]]
    return _digest(array for c in signed for array in (c.effects, c.random_effects, c.numbers))


def describe_circuits(results: Results) -> str:
    """Say what the figure of circuits shows."""
    texts = ["Curves of the share of the score change over the number of heads in the circuit."]
    for kind, axiom, protocol in product(results.kinds, STUDIED, PROTOCOLS):
        rows = results.rows(kind, protocol, axiom, END).items()
        points = ", ".join(f"{number} heads {value.value:.2f}" for number, value in rows)
        texts.append(f"{name_edit(kind, axiom, protocol)}: {points or 'none'}.")
    return " ".join(texts)


def _label(condition: Condition) -> str:
    return f"{condition.axiom}, {condition.place}"


def _digest(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f8"))
    return digest.hexdigest()


def as_png(figure: Figure, digest: str) -> bytes:
    """Draw a figure into a file's content, which names the digest of the figure's data.

    Two computers draw other pixels, but from the same data.
    """
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110, metadata={DIGEST: digest})
    plt.close(figure)
    return image.getvalue()
