"""Build the notebooks from their sources, fill them in, and check them.

Commands
--------
::

    python tools/build_notebooks.py build [NAME ...]       sources -> notebooks, README's table
    python tools/build_notebooks.py --check                list what is not as built
    python tools/build_notebooks.py --lint [NAME ...]      list broken promises of the sources
    python tools/build_notebooks.py --execute [NAME ...]   run, and keep the outputs
    python tools/build_notebooks.py --execute --fast NAME  try the fast profile; writes nothing
    python tools/build_notebooks.py --repository OWNER/NAME --ref TAG    write the badges

A NAME may be its number alone (``03``); without names, all. Edit only ``tutorials/src`` by hand;
``tutorials/contents.json`` has each notebook's minutes and what readers can do afterwards.

How a source is written
-----------------------
``tutorials/src/NN_slug.py`` is a py:percent file with a jupytext header that names the kernel
python3 and nothing else. It makes two notebooks: ``tutorials/NN_slug.ipynb`` for the participant,
and ``tutorials/solutions/NN_slug.ipynb``. The first cell is markdown: ``# Title`` (a verb), then
*What you will do*, *What you will learn*, *What you need* (with "45 minutes"). The last cells are
the headings *What you saw*, *On your own*, *Further reading*, whose items have a link each, a DOI
or an arXiv id where there is one. Around them the builder puts, and you do not write: badges under
the title, what an open notebook costs in memory, the setup cell, links from words in bold to the
glossary (where they are its entries), and at the end the next notebook,
the solutions and the MechIR paper.

Each **Predict** offers options (a), (b), ... in its paragraph. The fold after its figure,
``<details><summary>What we see</summary>``, names the letter that was right. The participant's copy
stores no output between the two.

Tags, as in ``# %% tags=["figure"] alt="Heat map: rows are layers, columns heads"``:

figure      the cell leaves a PNG; ends with ``plt.show()``; ``alt`` says what is drawn.
widget      the cell shows a panel; the code cell before it is its static twin, a figure.
stub        only in the participant's copy: the function that the reader writes.
solution    only in the solutions. Stub and solution may define the same name.
expected-N  with figure and solution: its picture appears, folded, in the participant's copy where
            a markdown cell has the line ``<!-- expected: N -->``. Do not write the fold yourself.
parameters  form fields: ``ranker_name = "embedded"  # @param {type:"string"}``.

An exercise is: a markdown header (difficulty n/5, importance n/5, minutes, why), the stub, the
solution, a cell that calls ``me.checks.check_x(x)``, and markdown with three folded hints, each
``<details><summary>Hint 1: ...</summary>``, a blank line, text, a blank line, ``</details>``. The
builder folds the solution below the hints. Later cells use the package, never the learner's
function, and show no solution.

Links are written as seen from ``tutorials/``; the builder deepens them for the solutions.

What the lint asks
------------------
1100-2000 words outside hints (the aim is 1200-1800) and 16-28 code cells (20-25); cells of at most
15 lines, 6 in the median; no third code cell in a row; at least one figure, alt text for each; a
figure before each widget; links that resolve; at least two exercises in 01-08; public names alone
(``me.something``, no import from inside the package); no name that only an exercise defines; no
name that a cell takes and a later one overwrites, so that cells can be run again in any order; a
fold with a letter for each prediction; a link in each item of the further reading.

What is committed
-----------------
Both copies, executed in the full profile (about 90 s each on one core; choose sizes by
``me.tutorial.pick(full, little)``). ``build`` keeps the outputs of cells whose code did not change,
and ``--check`` tells which notebooks have outputs of other code. ``tutorials/costs.json`` has the
seconds of every cell and the memory, as ``--execute`` measured them for the participant's copy;
docs/instructors.md shows them. The kernel runs in an empty
folder. The builder refuses a notebook that prints a warning, a path or an object's address, lacks a
figure, or is larger than 1 MB.
"""

import argparse
import sys

from notebooks.address import Address, load_address, store_address
from notebooks.comparison import differences
from notebooks.copies import build, share_outputs
from notebooks.costs import outdated_costs, store_cost, write_seconds
from notebooks.execution import execute
from notebooks.lint import problems, words
from notebooks.sources import read_source, select
from notebooks.table import outdated, write_table


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0 for success, 1 for findings, 2 for bad input."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.repository is not None:
            store_address(Address(asked.repository, asked.ref))
        if asked.check:
            found = differences(load_address()) + outdated(load_address()) + outdated_costs()
            return _report(found)
        names = select([name for name in asked.names if name != "build"])
        if asked.lint:
            return _lint(names)
        if asked.execute:
            return _execute(names, fast=asked.fast)
        return _build(names)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    usage, *_ = __doc__.split("How a source is written")
    parser = argparse.ArgumentParser(
        description=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="[build] NAME", help="which; default: all")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--check", action="store_true", help="compare with what would be built")
    which.add_argument("--lint", action="store_true", help="check the sources")
    which.add_argument("--execute", action="store_true", help="run, and write with outputs")
    which.add_argument("--repository", metavar="OWNER/NAME", help="'' for none: no badges")
    parser.add_argument("--ref", default="main", help="tag or branch that badges open")
    parser.add_argument("--fast", action="store_true", help="fast profile; nothing is written")
    return parser


def _build(names: list[str]) -> int:
    for name in names:
        build(name, load_address())
    write_table(load_address())
    write_seconds()
    return 0


def _execute(names: list[str], *, fast: bool) -> int:
    for name in names:
        # The solutions first: the participant's copy shows figures that they draw.
        for copy in ("solutions", "participant"):
            if copy == "participant" and not fast and share_outputs(name, load_address()):
                break
            cost = execute(name, copy, load_address(), fast=fast)
            print(f"{name} ({copy}): {cost}", flush=True)
        if not fast:
            store_cost(name, cost)
    if not fast:
        write_table(load_address())
    return 0


def _lint(names: list[str]) -> int:
    for name in names:
        print(f"{name}: {words(read_source(name).cells)} words")
    return _report([problem for name in names for problem in problems(name)])


def _report(problems: list[str]) -> int:
    print("\n".join(problems) or "nothing amiss")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
