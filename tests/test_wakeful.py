"""A reply that arrives while a notebook's client writes to the kernel is not slept through.

nbclient is held up before each write of an Output widget's state, so that the cell's reply always
arrives in between: what happens now and then on a slow machine then happens in nearly every cell.
"""

import time

import pytest
from jupyter_client.channels import AsyncZMQSocketChannel
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError
from nbclient.output_widget import OutputWidget
from nbformat.v4 import new_code_cell, new_notebook
from notebooks import wakeful

FIRST = """\
import ipywidgets
from IPython.display import HTML, clear_output, display
out = ipywidgets.Output()
out"""
SHOW = """\
with out:
    clear_output(wait=True)
    display(HTML("x" * 100_000))"""


@pytest.fixture(autouse=True)
def slow_writes(monkeypatch):
    monkeypatch.setattr(AsyncZMQSocketChannel, "send", wakeful.send_only)
    write = OutputWidget.sync_state
    monkeypatch.setattr(
        OutputWidget, "sync_state", lambda widget: (time.sleep(0.05), write(widget))
    )


def cells_that_stall(folder, *, n_cells, limit_s):
    """How many cells with output in a widget end only with nbclient's time limit."""
    started, took = {}, []
    client = NotebookClient(
        new_notebook(cells=[new_code_cell(code) for code in (FIRST, *[SHOW] * n_cells)]),
        timeout=limit_s,
        kernel_name="python3",
        resources={"metadata": {"path": folder}},
        on_cell_start=lambda cell, cell_index: started.update({cell_index: time.monotonic()}),
        on_cell_executed=lambda cell, cell_index, execute_reply: took.append(
            time.monotonic() - started[cell_index]
        ),
    )
    try:
        client.execute()
    except CellTimeoutError:
        took.append(limit_s)
    return sum(seconds >= limit_s for seconds in took)


def test_no_cell_stalls_where_the_client_looks_after_each_write(tmp_path):
    wakeful.stay_awake()
    assert cells_that_stall(tmp_path, n_cells=4, limit_s=60) == 0


@pytest.mark.long
def test_cells_stall_where_it_does_not(tmp_path):
    assert cells_that_stall(tmp_path, n_cells=8, limit_s=3) >= 1
