"""Write the study's tables and figures from its scores; and our report, written by hand.

::

    python -m study.publish docs/study      # make study-report: all of it, from docs/study/scores

The text of the report stands in ``text/*.md``. It holds tables, figures and numbers by name, and
behind each sentence the claim that must be true for it to stand (`study.claims`)::

    {{table|scores}}  {{short|scores}}  {{figure|heads}}  {{carry|dot|TFC1|end}}  {{part|method}}
    Both rankers obey both axioms.{{claim|both rankers obey both axioms at both ends}}

The report is not written while a claim is false.
"""

import argparse
import re
import textwrap
from pathlib import Path

from mechir_edu.files import write_whole
from study.claims import BOTH, CLAIMS, NUMBERS
from study.results import FILES, MissingEstimate, Results, estimate, read_results
from study.scores import SCORES, read_scores
from study.tables import (
    TABLES,
    describe_changes,
    describe_circuits,
    describe_heads,
    draw_changes,
    draw_circuits,
    draw_heads,
)

TEXT = Path(__file__).with_name("text")
WRITTEN = (*FILES, "heads.png", "changes.png", "circuits.png")
PAGES = ("report.md", "details.md", "circuits.md")
DESCRIPTION = (
    "Make the tables and figures from the scores in a folder, and write the pages "
    "from the tables, unless a sentence in them is false. Takes minutes."
)
_FIGURES = {
    "heads": describe_heads,
    "changes": describe_changes,
    "circuits": describe_circuits,
}
_PART = re.compile(r"\{\{part\|(\w+)\}\}")
_MARK = re.compile(r"\{\{([^{}]+)\}\}")


class FalseClaims(ValueError):
    """Sentences of the text that the results contradict."""


def write_tables(folder: Path) -> Results:
    """Write the tables and figures that the scores in ``folder/scores`` give: `WRITTEN`.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file of the scores is missing, or is not the one that their manifest names.
    """
    parts = read_scores(folder / SCORES)
    estimate(parts).write(folder)
    results = read_results(folder)  # rounded as they are on disk, for whoever publishes them
    write_whole(folder / "heads.png", draw_heads(results))
    write_whole(folder / "changes.png", draw_changes(parts))
    write_whole(folder / "circuits.png", draw_circuits(parts))
    return results


def publish(folder: Path, text: Path = TEXT) -> None:
    """Write the pages (`PAGES`) from the tables in a folder.

    Raises
    ------
    FalseClaims
        If a sentence does not hold; then nothing is written.
    FileNotFoundError
        If a table is missing.
    """
    results = read_results(folder)
    pages = {name: fill(name, results, text) for name in PAGES}
    for name, page in pages.items():
        write_whole(folder / name, page.encode())


def fill(name: str, results: Results, text: Path = TEXT) -> str:
    """Fill a text in, and check what it claims.

    Raises
    ------
    FalseClaims
        If a claim is false, or a number is not in the results; names each with its sentence.
    """
    page = (text / name).read_text(encoding="utf-8")
    while part := _PART.search(page):  # a part may hold parts
        content = (text / f"{part[1]}.md").read_text(encoding="utf-8")
        page = page.replace(part[0], content.rstrip("\n"))
    problems: list[str] = []

    def replace(mark: re.Match) -> str:
        try:
            return _fill_mark(mark[1], results)
        except (MissingEstimate, _FalseClaim) as error:
            problems.append(f"{mark[1]}: {error}\n  {_sentence(page, mark)}")
            return ""

    filled = _MARK.sub(replace, page)
    if problems:
        listed = "\n".join(problems)
        raise FalseClaims(
            f"{name} was not written, because the results contradict it; change these sentences "
            f"in {text}:\n{listed}"
        )
    return _wrap(filled)


class _FalseClaim(Exception):
    """A claim is false."""


def _fill_mark(mark: str, results: Results) -> str:
    """What stands in a mark's place."""
    kind, *arguments = mark.split("|")
    if kind == "claim":
        return _check_claim(arguments[0], results)
    if kind == "figure":
        return f"![{_FIGURES[arguments[0]](results)}]({arguments[0]}.png)"
    if kind in ("table", "short"):
        return TABLES[arguments[0]](results, kind == "table")
    return NUMBERS[kind](results, *arguments)


def _check_claim(name: str, results: Results) -> str:
    if missing := [kind for kind in BOTH if kind not in results.kinds]:
        raise _FalseClaim(f"there are no results of {' and '.join(missing)}")
    if not CLAIMS[name](results):
        raise _FalseClaim("this is false")
    return ""


def _wrap(page: str) -> str:
    """Wrap paragraphs, which numbers made shorter or longer, and nothing else."""
    blocks = page.rstrip().split("\n\n")
    plain = textwrap.TextWrapper(width=100, break_long_words=False, break_on_hyphens=False)
    return "\n\n".join(b if b[0] in "#|!" else plain.fill(b) for b in blocks) + "\n"


def _sentence(page: str, mark: re.Match) -> str:
    """The sentence that a mark belongs to."""
    before = page[: mark.start()].split("\n\n")[-1]
    sentence = re.split(r"(?<=[.:])\s+|\{\{claim\|[^}]+\}\}", before)[-1]
    return " ".join(sentence.split())


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m study.publish", description=DESCRIPTION)
    parser.add_argument("folder", type=Path, help=f"holds {SCORES}/")
    parser.add_argument(
        "--text-only", action="store_true", help="leave the tables and figures as they are"
    )
    args = parser.parse_args()
    if not args.text_only:
        write_tables(args.folder)
    publish(args.folder)


if __name__ == "__main__":
    main()
