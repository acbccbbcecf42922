"""Make an environment with MechIR 0.2.0, which needs other versions than ours of everything.

It is a plain virtual environment outside the checkout; only PyTorch is the same build as here, so
that both sides multiply matrices with the same code. Made once: later calls find it finished.
"""

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from common import CACHE, fetch_as_asked

MECHIR = "mechir==0.2.0"
DEFAULT = CACHE / "mechir-0.2.0"
FINISHED = "installed.txt"  # what pip resolved; written last


def python_of(folder: Path) -> Path | None:
    """Interpreter of a finished environment, or None."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    return python if (folder / FINISHED).is_file() else None


def make(folder: Path) -> Path:
    """Make the environment where it is not finished; gives its interpreter."""
    if (python := python_of(folder)) is not None:
        return python
    venv.create(folder, with_pip=True, clear=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    constraints = folder / "constraints.txt"
    constraints.write_text(f"torch=={version('torch').split('+')[0]}\n", encoding="utf-8")
    pip = [python, "-m", "pip"]
    subprocess.run([*pip, "install", "--constraint", constraints, MECHIR], check=True)
    frozen = subprocess.run([*pip, "freeze"], check=True, stdout=subprocess.PIPE).stdout
    (folder / FINISHED).write_bytes(frozen)
    return python


if __name__ == "__main__":
    fetch_as_asked(__doc__.splitlines()[0], DEFAULT, make)
