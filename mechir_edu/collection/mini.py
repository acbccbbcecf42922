"""The embedded test collection, under the ir_datasets id ``mechir-edu/mini``.

``ir_datasets.load("mechir-edu/mini")`` works like any other id once a collection was loaded with
`mechir_edu.load_collection`, or `register` was called. ``assets/mini/README.md`` says how the
collection was written and graded.
"""

from functools import cache
from pathlib import Path
from typing import Any

ID = "mechir-edu/mini"
FOLDER = Path(__file__).parent.parent / "assets" / "mini"
QUERIES, DOCS, QRELS = FOLDER / "queries.tsv", FOLDER / "docs.jsonl", FOLDER / "qrels"

GRADES = {
    3: "Perfectly relevant: dedicated to the query, and contains the exact answer.",
    2: "Highly relevant: some answer, but unclear, incomplete or among other things.",
    1: "Related: on the topic, but does not answer the query.",
    0: "Irrelevant: has nothing to do with the query.",
}


@cache
def register() -> None:
    """Make ``ir_datasets.load("mechir-edu/mini")`` work; `mechir_edu.load_collection` calls this.

    It may be called any number of times.
    """
    import ir_datasets

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
