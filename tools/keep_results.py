"""Compute the results that travel with the package.

``python tools/keep_results.py`` runs the solutions of all tutorials that call `me.tutorial.patch`,
`path_patch`, `circuit`, `score_pairs` or `evaluate`, in full, and writes what they asked for to
``mechir_edu/assets/results``: what is there already is taken, what is missing is computed, and what
no tutorial asks for any longer is deleted. Run it after a change of a tutorial's pairs or options.
``--anew`` computes everything, some forty minutes on two cores: for after a change of the embedded
rankers, or of what patching computes. ``pytest -m slow tests/test_results_at_hand.py`` computes
everything and compares, each result in a test of its own: ``-k`` with a file's name takes one.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode
from notebooks.address import load_address
from notebooks.copies import make_copy
from notebooks.execution import run
from notebooks.sources import contents, read_source

from mechir_edu.checks.tutorial import RESULTS

ASKED = ("patch", "path_patch", "circuit", "score_pairs", "evaluate")
ASKS = tuple(f"me.tutorial.{name}" for name in ASKED)
# Their texts send readers to the other ranker, so its results travel, too.
OF_BOTH_KINDS = ("05", "06")
KINDS = ('kind = "dot"', 'kind = "cat"')
MOST_BYTES = 3_000_000


def asking() -> list[str]:
    """Tutorials that take results at hand."""
    return [
        name
        for name in contents()
        if any(asked in cell.source for cell in read_source(name).cells for asked in ASKS)
    ]


def notebooks(name: str) -> Iterator[NotebookNode]:
    """Solutions of a tutorial as they are and, where it is to be had, with the other ranker."""
    notebook = make_copy(name, "solutions", load_address())
    yield notebook
    if name.startswith(OF_BOTH_KINDS):
        (form,) = (cell for cell in notebook.cells if cell.source.count("kind = ") == 1)
        here, other = KINDS if KINDS[0] in form.source else KINDS[::-1]
        form.source = form.source.replace(here, other)
        yield notebook


def compute(folder: Path, *, anew: bool = True) -> None:
    """Fill a folder with every result that the tutorials ask for.

    Parameters
    ----------
    anew : compute what is at hand, too.
    """
    told = {"MECHIR_EDU_KEEP_RESULTS": str(folder), "MECHIR_EDU_RECOMPUTE": str(int(anew))}
    before = {name: os.environ.pop(name, None) for name in told}
    os.environ.update(told)
    try:
        for name in asking():
            print(name, flush=True)
            for notebook in notebooks(name):
                run(notebook, strict=True, fast=False)
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def main() -> int:
    """Replace the results that travel with the package."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--anew", action="store_true", help="compute what is at hand, too")
    anew = parser.parse_args().anew
    with tempfile.TemporaryDirectory() as scratch:
        compute(Path(scratch), anew=anew)
        files = sorted(Path(scratch).iterdir())
        size = sum(file.stat().st_size for file in files)
        if size > MOST_BYTES:
            raise SystemExit(f"{size:,} bytes of results; needed at most {MOST_BYTES:,}")
        shutil.rmtree(RESULTS, ignore_errors=True)
        shutil.copytree(scratch, RESULTS)
    print(f"{len(files)} results, {size:,} bytes, in {RESULTS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
