"""Say in words what the demonstration saw: what moved, which heads carry it, what was skipped."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mechir_edu.collection.collection import Collection
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import PairScores
from mechir_edu.perturb.axioms.registry import AXIOMS
from mechir_edu.plots import top_heads
from mechir_edu.stats.comparisons import mean_difference
from mechir_edu.stats.estimates import Estimate, mean_change

if TYPE_CHECKING:
    from mechir_edu.cli.experiments import Experiment
    from mechir_edu.rankers.base import Ranker

_HOW_TO_READ = """\
## How to read this

Each document was scored twice, as it is (*baseline*) and after one edit (*perturbed*): TFC1 and
TDC append a query term. The **score change** is perturbed minus baseline. The control makes an edit
of the same shape (a word as long and as rare that has nothing to do with the query), so what an
axiom does *beyond its control* is about the query term and not about a changed document. Then each
attention head alone was patched: its output in the *recipient* run was replaced by that of the
*donor* run. **Recovery** is the share of the
score change that this brings over, 0 none, 1 all; negative means that the head works against the
change. Intervals are 95 %, over queries; q is corrected for the number of heads (Benjamini-
Yekutieli). Scores of two rankers are on different scales; recovery is comparable."""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Write a value with its interval."""
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def summarise(
    experiments: Sequence["Experiment"],
    collection: Collection,
    rankers: Sequence["Ranker"],
    choices: Mapping[str, Any],
) -> str:
    """Report a demonstration in Markdown."""
    parts = [
        f"# {_versus(experiments)}: which attention heads carry the change?",
        _what_was_run(experiments, collection, rankers, choices),
        "## What moved",
        *(_sentence_on_change(one) for one in experiments),
        _table_by_grade(experiments),
        "## Which heads carry it",
        *(_sentence_on_heads(one) for one in experiments),
        _table_of_heads(experiments),
        "## What was skipped",
        _what_was_skipped(experiments),
        _HOW_TO_READ,
    ]
    return "\n\n".join(parts) + "\n"


def _versus(experiments: Sequence["Experiment"]) -> str:
    return " versus ".join(dict.fromkeys(one.axiom for one in experiments))


def _what_was_run(
    experiments: Sequence["Experiment"],
    collection: Collection,
    rankers: Sequence["Ranker"],
    choices: Mapping[str, Any],
) -> str:
    axioms = dict.fromkeys(one.axiom for one in experiments)
    lines = [f"Collection: {collection.name}, {choices['pairs']} pairs for each axiom, drawn "
             f"evenly over relevance grades (seed {choices['seed']})."]  # fmt: skip
    for ranker in rankers:
        kind = "bi-encoder" if ranker.kind == "dot" else "cross-encoder"
        lines.append(
            f"- {type(ranker).__name__} `{ranker.name}`: a {kind}, {ranker.n_layers} layers of "
            f"{ranker.n_heads} heads."
        )
    lines += [f"- {name}: {AXIOMS[name].statement}" for name in axioms]
    if all(ranker.kind == "dot" for ranker in rankers):
        lines.append("- No cross-encoder was run.")
    return "\n".join(lines)


def _change(
    scored: PatchingResult | PairScores, *, sign: int | None = None, grade: int | None = None
) -> Estimate:
    keep = np.array([grade in (None, pair.relevance) for pair in scored.pairs])
    query_ids = np.array(scored.query_ids)[keep]
    return mean_change(scored.score_change()[keep], query_ids=query_ids, expected_sign=sign)


def _show(estimate: Estimate) -> str:
    return with_interval(estimate.value, estimate.low, estimate.high)


def _sentence_on_change(one: "Experiment") -> str:
    sign = AXIOMS[one.axiom].expected_sign
    change = _change(one.result, sign=sign or None)
    moves = "cannot be told from zero"
    if change.low > 0 or change.high < 0:
        moves = "rose" if change.value > 0 else "fell"
    text = f"**{one.ranker}, {one.axiom}.** The score {moves}: {_show(change)} on average"
    if sign:
        obeys = f"{change.sign_agreement:.0%} of the documents moved as the axiom expects"
        text += f"; {obeys}"
    if one.control is not None:
        beyond = mean_difference(
            one.result.score_change(),
            one.control.score_change(),
            first_pairs=one.result.pairs,
            second_pairs=one.control.pairs,
        )
        text += (
            f". Its control, an edit of the same shape, changed it by "
            f"{_show(_change(one.control))}, so beyond its control the axiom is worth "
            f"{_show(beyond)}"
        )
    return text + "."


def _table_by_grade(experiments: Sequence["Experiment"]) -> str:
    rows = []
    for one in experiments:
        for grade in sorted({pair.relevance for pair in one.result.pairs} - {None}, reverse=True):
            change = _change(one.result, grade=grade)
            neutral = "-" if one.control is None else _show(_change(one.control, grade=grade))
            counts = f"{change.n_pairs} / {change.n_queries}"
            rows.append([one.ranker, one.axiom, str(grade), _show(change), neutral, counts])
    header = ["ranker", "axiom", "grade", "score change", "control", "pairs / queries"]
    return markdown_table(header, rows)


def _sentence_on_heads(one: "Experiment") -> str:
    recovery = one.result.recovery()
    n_found, n_heads = int(recovery.significant().sum()), recovery.value.size
    where = one.result.direction.replace("_to_", " run into the ")
    text = (
        f"**{one.ranker}, {one.axiom}** ({where} run). {n_found} of {n_heads} heads change the "
        "score after false-discovery control"
    )
    if recovery.warning:
        text += f". Caution: {recovery.warning}"
    return text + "."


def _table_of_heads(experiments: Sequence["Experiment"]) -> str:
    rows = []
    for one in experiments:
        for row in top_heads(one.result.recovery(), k=5).to_dict("records"):
            head = f"layer {row['layer']}, head {row['head']}"
            recovery = with_interval(row["recovery"], row["low"], row["high"])
            rows.append([one.ranker, one.axiom, head, recovery, f"{row['q']:.3f}"])
    return markdown_table(["ranker", "axiom", "head", "recovery", "q"], rows)


def _what_was_skipped(experiments: Sequence["Experiment"]) -> str:
    lines = []
    for one in experiments:
        reasons = Counter(one.unperturbed)
        for result in (one.result, one.control):
            reasons.update(skip.reason for skip in (result.skipped if result else ()))
        said = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common()) or "nothing"
        lines.append(f"- {one.ranker}, {one.axiom} and its control: {said}.")
    return "\n".join(lines)
