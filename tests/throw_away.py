"""Throw-away virtual environments, for what must not be installed beside the package."""

import os
import subprocess
import sys

import pytest


def make_environment(folder, *packages, options=()):
    """Make a virtual environment with packages; gives its folder of programs.

    The test is skipped, saying so, where no package index can be reached.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "install", "--quiet", *options]
    run = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"not shown here, pip could not install {packages}: {run.stderr[-300:]}")
    return programs
