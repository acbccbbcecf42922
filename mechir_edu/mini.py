"""The embedded test collection, under the ir_datasets id ``mechir-edu/mini``.

After ``import mechir_edu``, ``ir_datasets.load("mechir-edu/mini")`` works like any other id. How
the collection was written and graded stands in ``assets/mini/README.md``.
"""

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ID = "mechir-edu/mini"
FOLDER = Path(__file__).parent / "assets" / "mini"
QUERIES, DOCS, QRELS = FOLDER / "queries.tsv", FOLDER / "docs.jsonl", FOLDER / "qrels"

GRADES = {
    3: "Perfectly relevant: dedicated to the query, and contains the exact answer.",
    2: "Highly relevant: some answer, but unclear, incomplete or among other things.",
    1: "Related: on the topic, but does not answer the query.",
    0: "Irrelevant: has nothing to do with the query.",
}


def register() -> None:
    """Make ``ir_datasets.load("mechir-edu/mini")`` work, now or once ir_datasets is imported."""
    # ir_datasets has no plug-in mechanism, so somebody has to call its registry. Importing it
    # here to do so would triple the time of `import mechir_edu`. A finder in `sys.meta_path` is
    # the way that Python documents for taking part in somebody else's later import: it changes
    # nothing about how ir_datasets is found or run, adds one call behind it, and is then gone.
    if "ir_datasets" in sys.modules:
        _add_to_registry(sys.modules["ir_datasets"])
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _add_to_registry(ir_datasets: ModuleType) -> None:
    # As a pattern the dataset is built when it is first asked for.
    ir_datasets.registry.register_pattern(f"^{ID}$", lambda name, groups: _dataset())


def _dataset() -> Any:
    """Describe the files to ir_datasets, in its own formats."""
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import JsonlDocs, TrecQrels, TsvQueries
    from ir_datasets.util import LocalDownload, home_path

    # The package's folder may be read-only, and a store outlives the release that built it.
    store = home_path() / "mechir-edu" / f"mini-{DOCS.stat().st_size}" / "docs.pklz4"
    return Dataset(
        JsonlDocs(LocalDownload(DOCS, mkdir=False), lang="en", docstore_path=str(store)),
        TsvQueries(LocalDownload(QUERIES, mkdir=False), lang="en"),
        TrecQrels(LocalDownload(QRELS, mkdir=False), GRADES),
    )


class _AfterImport(importlib.abc.MetaPathFinder):
    """Adds the embedded collection as soon as somebody imports ir_datasets."""

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "ir_datasets":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._add_call(spec.loader)
        return spec

    def _add_call(self, loader: Any) -> None:
        run = loader.exec_module

        def run_and_register(module: ModuleType) -> None:
            run(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                _add_to_registry(module)

        loader.exec_module = run_and_register
