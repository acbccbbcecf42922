"""Compute the results that travel with the package, and compare those that do.

``python tools/keep_results.py`` runs the solutions of all tutorials that call `me.tutorial.patch`
or `me.tutorial.path_patch`, in full and without results at hand, and writes what they computed to
``mechir_edu/assets/results``; what no tutorial asks for any longer is deleted. Run it after a
change of a tutorial's pairs or options, of the embedded rankers, or of what patching computes. Some
minutes on two cores.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from notebooks.address import load_address
from notebooks.copies import make_copy
from notebooks.execution import run
from notebooks.sources import contents, read_source

from mechir_edu.checks.tutorial import RESULTS

ASKS = ("me.tutorial.patch", "me.tutorial.path_patch")
MOST_BYTES = 3_000_000


def asking() -> list[str]:
    """Tutorials that take results at hand."""
    return [
        name
        for name in contents()
        if any(asked in cell.source for cell in read_source(name).cells for asked in ASKS)
    ]


def compute(folder: Path) -> None:
    """Compute every result that the tutorials ask for into a folder."""
    os.environ["MECHIR_EDU_KEEP_RESULTS"] = str(folder)
    try:
        for name in asking():
            print(name, flush=True)
            run(make_copy(name, "solutions", load_address()), strict=True, fast=False)
    finally:
        del os.environ["MECHIR_EDU_KEEP_RESULTS"]


def main() -> int:
    """Replace the results that travel with the package."""
    with tempfile.TemporaryDirectory() as scratch:
        compute(Path(scratch))
        files = sorted(Path(scratch).glob("*.npz"))
        size = sum(file.stat().st_size for file in files)
        if size > MOST_BYTES:
            raise SystemExit(f"{size:,} bytes of results; needed at most {MOST_BYTES:,}")
        shutil.rmtree(RESULTS, ignore_errors=True)
        shutil.copytree(scratch, RESULTS)
    print(f"{len(files)} results, {size:,} bytes, in {RESULTS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
