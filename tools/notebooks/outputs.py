"""Clean what a notebook printed and drew, so that it reads the same wherever it is shown.

A committed notebook has no widget state (without it GitHub cannot show a widget, with half of it
not even the notebook), no progress bars, no addresses of objects and no paths of one machine.
"""

import base64
import re
import struct
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from notebooks.sources import ROOT, tags

LARGEST = 1_000_000
_WIDGET = "application/vnd.jupyter.widget-view+json"
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
_PNG_START = b"\x89PNG\r\n\x1a\n"


def clean(notebook: NotebookNode) -> None:
    """Clean all outputs in place.

    Raises
    ------
    ValueError
        If a cell prints a warning, an address or a path of this machine, if a cell tagged
        ``figure`` has no PNG, or if the notebook is too large to be shown.
    """
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [_cleaned(out, cell) for out in cell.outputs if _stays(out, cell)]
            _refuse_machine(cell)
            if "figure" in tags(cell) and png_of(cell) is None:
                raise ValueError(f"{cell.id}: a cell tagged figure needs a PNG; plt.show() it")
    notebook.metadata.pop("widgets", None)
    size = len(nbformat.writes(notebook, indent=1).encode())
    if size > LARGEST:
        raise ValueError(
            f"needed a notebook of at most {LARGEST:,} bytes, got {size:,}; "
            "draw fewer or smaller figures"
        )


def png_of(cell: NotebookNode) -> bytes | None:
    """First PNG among a cell's outputs, if there is one."""
    for output in cell.get("outputs", ()):
        if "image/png" in output.get("data", {}):
            return base64.b64decode(output.data["image/png"])
    return None


def without_text(png: bytes) -> bytes:
    """Leave out a PNG's comments: they contain dates and the version that drew it."""
    kept, place = [_PNG_START], len(_PNG_START)
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        end = place + length + 12
        if png[place + 4 : place + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"tIME"):
            kept.append(png[place:end])
        place = end
    return b"".join(kept)


def _stays(output: NotebookNode, cell: NotebookNode) -> bool:
    """Leave out progress, and widgets other than a panel, which are progress too."""
    if output.output_type == "stream" and output.name == "stderr":
        if "\r" not in output.text and output.text.strip():
            raise ValueError(
                f"{cell.id}: needed no warning, got {output.text.strip()[:300]!r}; "
                "remove its cause, because readers would wonder about it"
            )
        return False
    return _WIDGET not in output.get("data", {}) or "widget" in tags(cell)


def _cleaned(output: NotebookNode, cell: NotebookNode) -> NotebookNode:
    data = output.get("data", {})
    data.pop(_WIDGET, None)  # what stays is the panel's text, which says what it is
    if "image/png" in data:
        png = without_text(base64.b64decode(data["image/png"]))
        data["image/png"] = base64.b64encode(png).decode()
        if cell.metadata.get("alt"):
            output.metadata = {"image/png": {"alt": cell.metadata.alt}}
            data["text/plain"] = cell.metadata.alt
    return output


def _refuse_machine(cell: NotebookNode) -> None:
    """Refuse what only holds on the machine that executed the notebook."""
    texts = [text for out in cell.outputs for text in (out.get("text"), *_texts(out)) if text]
    for text in texts:
        told = [place for place in (str(ROOT), str(Path.home()) + "/", "/tmp/") if place in text]
        told += _ADDRESS.findall(text)
        if told:
            raise ValueError(
                f"{cell.id}: prints {told}, which only this machine has; print a name instead, or "
                "end the cell with plt.show()"
            )


def _texts(output: NotebookNode) -> list[str]:
    return [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
