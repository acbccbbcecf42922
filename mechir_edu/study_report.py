"""Write the study's report: two pages in plain words, every number from the results.

Sentences are chosen by what the intervals allow; "could not be shown" is one of the choices.
"""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mechir_edu.files import write_whole
from mechir_edu.study_comparisons import on_axioms, on_open_questions, on_transfer
from mechir_edu.study_effects import heads_table
from mechir_edu.study_figures import draw_changes, draw_heads
from mechir_edu.study_findings import Findings, find
from mechir_edu.study_plan import MAIN
from mechir_edu.study_results import Part, read_parts
from mechir_edu.study_sections import on_heads, on_penalty, on_scores

_ESTIMATED = """Heads were **not patched one by one**: their effects are estimates by one gradient
(attribution patching), a linear approximation. Score changes are exact. An effect of the largest
heads may be off by a fifth, beyond what its interval says;
`tools/gradient_against_exact.py` compares both on some of the pairs (`docs/study/gradient.md`)."""
_METHOD = """\
Every passage was scored as it is and with one word added, at its end or its start: a query term
(**TFC1** a random one, **TDC** the one of highest idf) or, as each one's **control**, a neutral
word as long and as rare that neither query nor passage holds. All edits are made to the same
judged pairs, drawn evenly over relevance grades and queries. Then each attention head alone was
patched: its output with the added word was put into the run of the passage with the
filler "a" in that word's place. **Effect** is what this changes the score by, **recovery** its
share of the whole change. The queries, not the pairs, are what is resampled. Intervals hold with
95 % for all of a table together (Bonferroni); heads are named after control of false discovery
over the map (Benjamini-Yekutieli, q < 0.05), with intervals corrected for having been chosen.
Recoveries of two rankers can be compared, scores and effects cannot."""

_HEADINGS = (
    ("Does each ranker obey TFC1 and TDC, and by how much more than the control?", on_scores),
    ("Which heads carry it?", on_heads),
    ("Is the penalty for an appended term term matching or position?", on_penalty),
    ("Does TDC use other heads than TFC1?", on_axioms),
    ("Does it hold in the other collection, across fillers and directions?", on_transfer),
    ("What could not be concluded", on_open_questions),
)


def write_report(study: Path, folder: Path) -> str:
    """Report what is complete of a study; writes report.md, heads.csv and the figures.

    Parameters
    ----------
    study : folder of the run.
    folder : where the report is written.

    Returns
    -------
    str
        The report.

    Raises
    ------
    FileNotFoundError
        If no block of pairs is complete.
    """
    some = [find(part) for part in read_parts(study)]
    tables = [heads_table(one.part, list(one.heads.values())) for one in some]
    content = pd.concat(tables).to_csv(index=False, float_format="%.6g")
    write_whole(folder / "heads.csv", content.encode())
    figures = {}
    for name, draw in (("changes", draw_changes), ("heads", draw_heads)):
        figure, alt = draw(some)
        write_whole(folder / f"{name}.png", as_png(figure))
        figures[name] = f"![{alt}]({name}.png)"
    text = compose(some, figures)
    write_whole(folder / "report.md", text.encode())
    return text


def as_png(figure: Figure) -> bytes:
    """Draw a figure into a file's content."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return image.getvalue()


def compose(some: Sequence[Findings], figures: dict[str, str]) -> str:
    """Put the report together."""
    parts = [
        "# Which heads carry term matching? TFC1 and TDC, tested",
        "\n".join(f"- {_how_complete(one.part)}" for one in some),
        _METHOD,
    ]
    if any(one.part.main[MAIN[0]].method == "gradient" for one in some):
        parts += [_ESTIMATED]
    after = {on_scores: figures["changes"], on_heads: figures["heads"]}
    for number, (heading, answer) in enumerate(_HEADINGS, start=1):
        parts += [f"## {number}. {heading}", *answer(some)]
        parts += [after[answer]] if answer in after else []
    parts += ["## How it was made", "\n".join(_made(one.part) for one in some)]
    parts += ["Every head under every edit, with its interval: `heads.csv`."]
    return "\n\n".join(parts) + "\n"


def _how_complete(part: Part) -> str:
    made_of, planned = part.manifest.made_of, part.manifest.n_pairs
    grades = Counter(part.grades.tolist())
    evenly = ", ".join(f"{n} of grade {grade}" for grade, n in sorted(grades.items())[::-1])
    state = "all" if part.n_pairs == planned else f"{part.n_pairs} of"
    return (
        f"The {part.name}: **{state} {planned} planned pairs**, of "
        f"{len(set(part.query_ids))} queries of {' and '.join(made_of['queries'])} ({evenly}), "
        f"{len(MAIN)} edits, {made_of['n_layers']} layers; heads patched by the method "
        f'"{part.main[MAIN[0]].method}".'
    )


def _made(part: Part) -> str:
    made_of = part.manifest.made_of
    reasons = Counter(skip.reason for skip in part.manifest.skipped)
    skipped = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common()) or "nothing"
    versions = ", ".join(f"{name} {version}" for name, version in made_of["versions"].items())
    return (
        f"- The {part.name}: seed {made_of['seed']}, n = {made_of['n']}, blocks of "
        f"{made_of['block']}, {made_of['checks']} pairs for the checks; weights SHA-256 "
        f"`{made_of['checksum'] or 'constructed'}`; {versions}. Met and not used: {skipped}."
    )
