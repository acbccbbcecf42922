"""Run notebooks one after another, each in a fork of a process that has imported the libraries.

A kernel of its own costs every notebook the start of Python and of all libraries, half the time of
a short run. Here IPython runs the cells without a kernel; what a kernel adds (the protocol, widgets
in a page) is left to nbmake and to the browser.

python -m notebooks.forks    answers each line of its input with a line, both JSON:
                             {"notebook": PATH, "seconds": N} -> [exit status, peak in KiB or bytes]

The cells run in the notebook's folder. What they print goes to the file ``said`` there, and what
they tried to reach in the network to ``attempts``.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import ipywidgets  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import nbformat
import pandas  # noqa: F401
import scipy.stats  # noqa: F401
import transformer_lens.model_bridge  # noqa: F401
import transformers.models.bert.modeling_bert  # noqa: F401
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import mechir_edu


def serve() -> None:
    """Run every notebook that the input names, until the input ends."""
    for name in mechir_edu.__all__:
        getattr(mechir_edu, name)  # each is imported when it is first asked for
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(Path(task["notebook"]), task["seconds"])
        _, status, usage = os.wait4(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss]), flush=True)


def _run(path: Path, seconds: int) -> None:
    """Run a notebook's cells and end this process: with 0 if none failed."""
    status = 1
    try:
        signal.alarm(seconds)
        os.chdir(path.parent)
        os.environ["NETWORK_ATTEMPTS"] = str(path.parent / "attempts")
        nothing, said = os.open(os.devnull, os.O_RDONLY), os.open("said", os.O_WRONLY | os.O_CREAT)
        for stream, here in enumerate((nothing, said, said)):
            os.dup2(here, stream)
        status = 0 if _all_succeed(nbformat.read(path, as_version=4)) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Shell(InteractiveShell):
    """IPython that draws figures into outputs, for which no window's event loop is needed."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing."""


def _all_succeed(notebook: nbformat.NotebookNode) -> bool:
    shell = _Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.enable_matplotlib("inline")  # figures are drawn as in a notebook
    codes = (cell.source for cell in notebook.cells if cell.cell_type == "code")
    return all(shell.run_cell(code).success for code in codes)


if __name__ == "__main__":
    serve()
