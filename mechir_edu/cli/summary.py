"""Put into words what the demonstration saw: what moved, which heads carry it, what was skipped."""

from collections import Counter

import numpy as np

from mechir_edu import stats
from mechir_edu.cli.experiments import Demonstration, Experiment
from mechir_edu.patching.result import PatchingResult
from mechir_edu.patching.scoring import PairScores
from mechir_edu.perturb.axioms.registry import AXIOMS
from mechir_edu.plots.terms import terms_in_words
from mechir_edu.plots.words import lead_in_words, markdown_table, top_heads, with_interval
from mechir_edu.rankers.kinds import find_kind

_HOW_TO_READ = """\
## How to read this

Each document was scored twice, as it is (*baseline*) and after one edit (*perturbed*): TFC1 and
TDC append a query term. The **score change** is perturbed minus baseline. The control makes an edit
of the same shape (a word that is as long and as rare, but has nothing to do with the query), so the
*effect over the control* is due to the query term and not to the edit as such. Then each attention
head alone was patched: its output in the *recipient* run was replaced by its output in the *donor*
run. **Recovery** is the share of the score change that this restores, 0 none, 1 all; a negative
value means that the head works against the change. Intervals are 95 %, over queries; a head is
significant if q < 0.05, and q is corrected for the number of heads (Benjamini-Yekutieli). Two
rankers score on different scales; recovery can be compared between them."""


def summarise(demonstration: Demonstration) -> str:
    """Report a demonstration in Markdown."""
    experiments = demonstration.experiments
    parts = [
        f"# {' versus '.join(demonstration.axioms)}: which attention heads carry the change?",
        _what_was_run(demonstration),
        "## What moved",
        *map(_sentence_on_change, experiments),
        _table_by_grade(experiments),
        "## Which heads carry it",
        *map(_sentence_on_heads, experiments),
        "Significant heads come first, then the largest of the others; `heads.csv` has all heads.",
        _table_of_heads(experiments),
        *_sections_on_terms(experiments),
        "## What was skipped",
        "\n".join(map(_what_was_skipped, experiments)),
        _HOW_TO_READ,
    ]
    return "\n\n".join(parts) + "\n"


def _what_was_run(demonstration: Demonstration) -> str:
    lines = [
        f"Collection: {demonstration.collection}, {demonstration.n} pairs for each axiom, drawn "
        f"evenly over relevance grades (seed {demonstration.seed}).\n"
    ]
    kinds = []
    for name in demonstration.rankers:
        result = demonstration[demonstration.axioms[0], name].result
        kinds.append(find_kind(result.provenance["kind"]))
        n_layers, n_heads, _ = result.scores.shape
        lines.append(f"- {name}: a {kinds[-1].kind_name}, {n_layers} layers of {n_heads} heads.")
    for axiom in {e.axiom: e.definition for e in demonstration.experiments}.values():
        source = "" if axiom.name in AXIOMS else f" ({axiom.source})"
        lines.append(f"- {axiom.name}: {' '.join(axiom.statement.split())}{source}")
    if demonstration.caution:
        lines.append(f"- **{demonstration.caution}**: `--method exact` patches every head.")
    if not any(kind.reads_together for kind in kinds):
        lines.append("- No cross-encoder was run.")
    return "\n".join(lines)


def _change(
    scored: PatchingResult | PairScores, *, sign: int | None = None, grade: int | None = None
) -> stats.Estimate:
    keep = np.array([grade in (None, pair.relevance) for pair in scored.pairs])
    query_ids = np.array(scored.query_ids)[keep]
    return stats.mean_change(scored.score_change()[keep], query_ids=query_ids, expected_sign=sign)


def _show(estimate: stats.Estimate) -> str:
    return with_interval(estimate.value, estimate.low, estimate.high)


def _sentence_on_change(experiment: Experiment) -> str:
    sign = experiment.definition.expected_sign
    change = _change(experiment.result, sign=sign or None)
    moved = "did not change significantly"
    if change.low > 0 or change.high < 0:
        moved = "rose" if change.value > 0 else "fell"
    text = f"**{experiment.ranker}, {experiment.axiom}.** "
    text += f"The score {moved}: {_show(change)} on average"
    if sign:
        text += f"; {change.sign_agreement:.0%} of the documents moved as the axiom expects"
    if experiment.control is not None:
        text += (
            f". The control, an edit of the same shape, changed it by "
            f"{_show(_change(experiment.control))}, so the axiom's effect over the control is "
            f"{_show(experiment.over_control)}"
        )
    return text + "."


def _table_by_grade(experiments: tuple[Experiment, ...]) -> str:
    rows = []
    for experiment in experiments:
        pairs = experiment.result.pairs
        for grade in sorted({pair.relevance for pair in pairs} - {None}, reverse=True):
            change, control = _change(experiment.result, grade=grade), "-"
            if experiment.control is not None:
                control = _show(_change(experiment.control, grade=grade))
            counts = f"{change.n_pairs} / {change.n_queries}"
            named = [experiment.ranker, experiment.axiom, grade]
            rows.append([*named, _show(change), control, counts])
    header = ["ranker", "axiom", "grade", "score change", "control", "pairs / queries"]
    return markdown_table(header, rows)


def _sentence_on_heads(experiment: Experiment) -> str:
    recovery, direction = experiment.recovery, experiment.result.direction
    n_significant, n_heads = int(recovery.significant().sum()), recovery.value.size
    where = direction.replace("_to_", " run into the ")
    text = (
        f"**{experiment.ranker}, {experiment.axiom}** ({where} run). {n_significant} of {n_heads} "
        "heads change the score significantly"
    )
    if said := lead_in_words(recovery):
        text += f"; {said}"
    if recovery.warning:
        text += f". Caution: {recovery.warning}"
    return text + "."


def _table_of_heads(experiments: tuple[Experiment, ...]) -> str:
    """The significant heads, ten at most; where they are fewer than five, then the largest."""
    rows = []
    for experiment in experiments:
        heads = top_heads(experiment.recovery, k=experiment.recovery.value.size)
        heads["significant"] = heads["q"] < 0.05
        listed = heads.sort_values("significant", ascending=False, kind="stable")
        for row in listed[: min(max(heads["significant"].sum(), 5), 10)].to_dict("records"):
            head = f"layer {row['layer']}, head {row['head']}"
            recovery = with_interval(row["recovery"], row["low"], row["high"])
            said = "yes" if row["significant"] else "no"
            q = f"{row['q']:.3f}"
            rows.append([experiment.ranker, experiment.axiom, head, said, recovery, q])
    return markdown_table(["ranker", "axiom", "head", "significant", "recovery", "q"], rows)


def _sections_on_terms(experiments: tuple[Experiment, ...]) -> list[str]:
    """Of each learned-sparse ranker, whose score is a sum over terms of a vocabulary."""
    sentences = [
        f"**{experiment.ranker}, {experiment.axiom}.** {terms_in_words(experiment.terms)}"
        for experiment in experiments
        if experiment.terms is not None
    ]
    return ["## Which vocabulary terms moved", *sentences] if sentences else []


def _what_was_skipped(experiment: Experiment) -> str:
    reasons = Counter(experiment.unperturbed)
    for scored in (experiment.result, experiment.control):
        reasons.update(skip.reason for skip in (scored.skipped if scored else ()))
    listed = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common()) or "nothing"
    return f"- {experiment.ranker}, {experiment.axiom} and its control: {listed}."
