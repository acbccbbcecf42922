"""Write the study's report, two pages in plain words, and its details; all from the results.

Sentences are chosen by what the intervals allow; "could not be shown" is one of the choices.
"""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from study.answers import AXIOMS_IN_SHORT, answer_in_short, is_unfinished, name_estimated
from study.comparisons import on_axioms, on_transfer
from study.effects import heads_table
from study.figures import draw_changes, draw_heads
from study.findings import Findings, find
from study.limits import on_open_questions
from study.plan import MAIN
from study.results import Part, read_parts
from study.sections import on_heads, on_penalty, on_scores
from study.words import say_of_each

from mechir_edu.files import write_whole

FILES = ("report.md", "details.md", "heads.csv", "changes.png", "heads.png")
QUESTIONS = (
    ("Does each ranker obey TFC1 and TDC, and by how much more than the control?", on_scores),
    ("Which heads carry it?", on_heads),
    ("Is the penalty for an appended term term matching or position?", on_penalty),
    ("Does TDC use other heads than TFC1?", on_axioms),
    ("Does it hold in the other collection, across fillers and directions?", on_transfer),
    ("What could not be concluded?", on_open_questions),
)
_METHOD = """\
One word was added to judged passages (even over relevance grades and queries), at the end or the
start: a query term (TFC1 a random one, TDC the one of highest idf) or, as a **control**, a neutral
word as long and as rare that neither query nor passage holds. Then each attention head alone was
patched: its output with the added word was put into the run with the filler "a" in that word's
place. Its **recovery** is the share of the word's score change that this brings about; only
recoveries can be compared between rankers. Intervals resample queries; a ranker's intervals of one
kind hold together with 95 % (Bonferroni). Heads are counted after control of false discovery
(Benjamini-Yekutieli, q < 0.05) if their interval, corrected for that choice, leaves out zero; a dot
in the maps stands for q alone."""
_ESTIMATED = """\
The heads of {} were **not patched one by one**: one gradient estimates all effects (attribution
patching), a linear approximation. The largest may be off by a quarter, beyond their intervals
(`docs/study/gradient.md`). Score changes are exact."""


def write_report(study: Path, folder: Path) -> str:
    """Report what is complete of a study; writes `FILES`.

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
    for answer, name, draw in (
        (on_scores, "changes.png", draw_changes),
        (on_heads, "heads.png", draw_heads),
    ):
        figure, alt = draw(some)
        write_whole(folder / name, as_png(figure))
        figures[answer] = f"![{alt}]({name})"
    report = compose_report(some, figures)
    write_whole(folder / "report.md", report.encode())
    write_whole(folder / "details.md", compose_details(some).encode())
    return report


def as_png(figure: Figure) -> bytes:
    """Draw a figure into a file's content."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return image.getvalue()


def compose_report(some: Sequence[Findings], figures: dict) -> str:
    """Put the two pages together; ``figures`` go behind the answers that they belong to."""
    parts = ["# Which heads carry term matching? TFC1 and TDC, tested", answer_in_short(some)]
    for number, (question, answer) in enumerate(QUESTIONS, start=1):
        parts += [f"## {number}. {question}", *answer(some, full=False)]
        parts += [figures[answer]] if answer in figures else []
    parts += _how_it_was_made(some)
    parts += [
        "Every edit, grade and version: [details.md](details.md); every head: "
        "[heads.csv](heads.csv)."
    ]
    return "\n\n".join(parts) + "\n"


def compose_details(some: Sequence[Findings]) -> str:
    """Put the details together: every answer in full, and what the results were made with."""
    link = "In two pages, with figures: [report.md](report.md)."
    parts = ["# The study in full", f"{AXIOMS_IN_SHORT} {link}"]
    for number, (question, answer) in enumerate(QUESTIONS, start=1):
        parts += [f"## {number}. {question}", *answer(some, full=True)]
    parts += [*_how_it_was_made(some), "\n".join(_made(one.part) for one in some)]
    return "\n\n".join(parts) + "\n"


def _how_it_was_made(some: Sequence[Findings]) -> list[str]:
    estimated = name_estimated(some)
    caution = [_ESTIMATED.format(estimated)] if estimated else []
    used = f"{say_of_each(some, _how_much_was_used)} {say_of_each(some, _what_it_was_taken_from)}"
    return ["## How it was made", _METHOD, *caution, used]


def _how_much_was_used(one: Findings) -> str:
    state = f"{one.part.n_pairs} of" if is_unfinished(one) else "all"
    return f"was given **{state} {one.part.manifest.n_pairs} planned pairs**"


def _what_it_was_taken_from(one: Findings) -> str:
    part = one.part
    reasons = Counter(skip.reason for skip in part.manifest.skipped)
    skipped = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common()) or "nothing"
    return (
        f"has pairs of {len(set(part.query_ids))} queries of {' and '.join(part.collections)} "
        f"(met and not used: {skipped})"
    )


def _made(part: Part) -> str:
    made_of = part.manifest.made_of
    versions = ", ".join(f"{name} {version}" for name, version in made_of["versions"].items())
    grades = sorted(Counter(part.grades.tolist()).items(), reverse=True)
    counts = ", ".join(f"{n} pairs of grade {grade}" for grade, n in grades)
    return (
        f"- The {part.full_name}: {made_of['n_layers']} layers; "
        f"method {part.main[MAIN[0]].method!r}, {len(MAIN)} edits; {counts}; "
        f"seed {made_of['seed']}, n = {made_of['n']}, blocks of {made_of['block']}, "
        f"{made_of['checks']} pairs for the checks; "
        f"weights SHA-256 `{made_of['checksum'] or 'constructed'}`; {versions}."
    )
