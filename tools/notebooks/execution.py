"""Run notebooks from top to bottom in kernels of their own, and measure time and memory."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from notebooks.address import Address
from notebooks.copies import fingerprint, make_copy, write
from notebooks.outputs import clean
from notebooks.predictions import leave_out_answers
from notebooks.sources import ROOT, notebook_path
from notebooks.wakeful import stay_awake

_LONGEST_CELL_S = 3600  # ends a run that hangs; no cell takes nearly as long
# On Linux ru_maxrss begins at what the process held that started this one; VmHWM is its own.
_PEAK = """\
import pathlib, resource
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class Cost:
    """The cost of a run: wall-clock seconds, bytes at the peak of its kernel, and each cell's time.

    ``by_cell`` is cell id -> seconds of the kernel's processor, and of processes that it ended.
    """

    seconds: float
    peak: int
    by_cell: dict[str, float]

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, {self.peak / 1e6:.0f} MB at most"


def execute(name: str, copy: str, address: Address, *, root: Path = ROOT, fast: bool) -> Cost:
    """Run one notebook from its source; in the full profile, write it with its outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails; nothing is written then.
    ValueError
        If an output must not be committed.
    """
    notebook = make_copy(name, copy, address, root=root)
    cost = run(notebook, strict=copy == "solutions", fast=fast)
    clean(notebook)
    if not fast:
        notebook.metadata.executed = fingerprint(notebook)
        if copy == "participant":
            leave_out_answers(notebook)
        write(notebook, notebook_path(name, copy, root=root))
    return cost


def run(notebook: NotebookNode, *, strict: bool, fast: bool) -> Cost:
    """Fill in a notebook's outputs in place; it runs in an empty folder, one thread."""
    chosen = {"MECHIR_EDU_STRICT": strict, "MECHIR_EDU_FAST": fast}
    env = {key: value for key, value in os.environ.items() if key not in chosen}
    env |= {key: "1" for key, on in chosen.items() if on}
    env |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    stay_awake()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=_LONGEST_CELL_S,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,  # or lines printed together come apart at random
        )
        with client.setup_kernel(env=env):
            peak, by_cell = _run_cells(client, notebook)
    return Cost(time.perf_counter() - start, peak, by_cell)


def _run_cells(client: NotebookClient, notebook: NotebookNode) -> tuple[int, dict[str, float]]:
    kernel, by_cell = psutil.Process(client.km.provisioner.pid), {}
    for index, cell in enumerate(notebook.cells):
        before = _busy(kernel)
        client.execute_cell(cell, index)
        if cell.cell_type == "code":
            by_cell[cell.id] = _busy(kernel) - before
    # Only the kernel knows its peak; the cell that asks is not part of the notebook.
    notebook.cells.append(new_code_cell(_PEAK))
    client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
    return int(notebook.cells.pop().outputs[0].text), by_cell


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    # macOS has no times of children.
    return (
        times.user
        + times.system
        + getattr(times, "children_user", 0)
        + getattr(times, "children_system", 0)
    )
