"""Judged pairs as a torch dataset, and collators that make them batches for ``model.patch``.

This is the paper's way in: a dataset, a perturbation, a collator, and a `DataLoader` between them.

>>> from mechir_edu.perturb import perturbation
>>> from torch.utils.data import DataLoader
>>> @perturbation
... def func(document):
...     return "MechIR! " + document
>>> dataset = MechIRDataset("embedded", n=4)
>>> dataset[0].relevance
3

Given a `tokenizer`, ``DataLoader(dataset, collate_fn=DotDataCollator(tokenizer, func))`` yields
batches, each to be passed on as ``model.patch(**batch)``. There is no need to say whether a
perturbation appends, prepends or replaces: `mechir_edu.align` finds out, pair by pair.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import compress
from typing import Any, ClassVar, NamedTuple

import pandas as pd
from torch.utils.data import Dataset

from mechir_edu.alignment.aligned import AlignedPairs
from mechir_edu.alignment.aligner import align
from mechir_edu.collection.collection import Collection
from mechir_edu.collection.given import checked_ids, checked_kind, checked_number, checked_text
from mechir_edu.collection.judged import Skipped
from mechir_edu.collection.load import load_collection
from mechir_edu.perturb.own import Perturbation, difference
from mechir_edu.perturb.pair import Pair
from mechir_edu.rankers.kinds import find_kind
from mechir_edu.rankers.mono_t5 import PROMPTS


class Item(NamedTuple):
    """One query and one document, as a dataset yields them.

    A collator takes plain tuples too, of which the first two, query and text, are needed.
    """

    query: str
    text: str
    relevance: int | None = None
    query_id: str = ""
    doc_id: str = ""


class MechIRDataset(Dataset):
    """Queries with documents of a collection, one `Item` each.

    Parameters
    ----------
    collection : ``"embedded"``, an ir_datasets id, or a loaded `Collection`.
    pairs : data frame with the columns ``query_id`` and ``doc_id``, and ``relevance`` if you have
        it (else the judgment is used where there is one). Without it, judged pairs are drawn.
    n : number of pairs to draw, evenly over grades; fewer where there are not as many.
    seed : of the draw.

    Attributes
    ----------
    items : what it yields.
    skipped : what was left out, and why.

    Raises
    ------
    ValueError
        If the collection is unknown or has no judgments (ids that have them are named), or if
        `pairs` lacks a column or names nothing that is in the collection.
    TypeError
        For an argument of the wrong kind, or an id or a grade that is none.
    """

    def __init__(
        self,
        collection: str | Collection,
        pairs: pd.DataFrame | None = None,
        *,
        n: int = 1000,
        seed: int = 0,
    ) -> None:
        if isinstance(collection, str):
            collection = load_collection(collection)
        checked_kind(collection, Collection, "collection", "an id or a collection", pairs=pairs)
        if pairs is None:
            sample = collection.sample(n, seed=seed)
            self.items = [
                Item(j.query, j.text, j.relevance, j.query_id, j.doc_id) for j in sample.judged
            ]
            self.skipped = sample.skipped
        else:
            self.items, self.skipped = _look_up(pairs, collection)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


def _look_up(pairs: pd.DataFrame, collection: Collection) -> tuple[list[Item], list[Skipped]]:
    """Find the texts of pairs that are named by their ids."""
    checked_kind(pairs, pd.DataFrame, "pairs", "a data frame with query_id and doc_id")
    if missing := {"query_id", "doc_id"} - set(pairs.columns):
        raise ValueError(
            f"pairs needs the columns query_id and doc_id, got {list(pairs.columns)}; "
            f"rename or add {' and '.join(sorted(missing))}"
        )
    ids = {name: checked_ids(pairs[name], f"pairs.{name}") for name in ("query_id", "doc_id")}
    texts = collection.texts(ids["doc_id"])
    items, skipped = [], []
    rows = zip(ids["query_id"], ids["doc_id"], pairs.to_dict("records"), strict=True)
    for query_id, doc_id, row in rows:
        judged = collection.qrels.get(query_id, {}).get(doc_id)
        if query_id not in collection.queries:
            skipped.append(Skipped(query_id, doc_id, "query not in the collection"))
        elif doc_id not in texts:
            skipped.append(Skipped(query_id, doc_id, "passage not in the collection"))
        else:
            given = row.get("relevance")
            relevance = judged if pd.isna(given) else _whole(given)
            items.append(
                Item(collection.queries[query_id], texts[doc_id], relevance, query_id, doc_id)
            )
    if not items:
        raise ValueError(
            f"none of the {len(pairs)} pairs is in {collection.name}: {_reasons(skipped)}; "
            "check that the ids are those of this collection"
        )
    return items, skipped


def _whole(grade: Any) -> int:
    """A grade of a table; a column with gaps makes floats of whole numbers."""
    is_whole = isinstance(grade, float) and grade.is_integer()
    return checked_number(int(grade) if is_whole else grade, "relevance of a pair")


@dataclass(frozen=True)
class DataCollator:
    """Perturbs and aligns batches of a `MechIRDataset`; use the one of your kind of ranker.

    Parameters
    ----------
    tokenizer : the ranker's, ``model.tokenizer``.
    transformation_func : ``f(document)`` or ``f(document, query)``, marked with
        `mechir_edu.perturb.perturbation` or not.
    special_token : what fills the gap in the shorter version: a word, or ``"pad"``, ``"mask"`` or
        ``"neutral"`` (see `mechir_edu.alignment.fillers`).
    q_max_length : longest query in tokens, special tokens included; a pair whose query is longer is
        skipped, because a shortened query is another query.
    d_max_length : longest document in tokens. A longer one is shortened, but never by what the
        perturbation added.
    prompts : what the ranker reads around queries and documents, ``model.prompts``.
    """

    tokenizer: Any
    transformation_func: Callable[..., str]
    _: KW_ONLY
    special_token: str = "a"
    q_max_length: int = 30
    d_max_length: int = 300
    prompts: tuple[str, ...] = ("", "")

    kind: ClassVar[str]

    def __call__(self, batch: Sequence[tuple]) -> dict[str, AlignedPairs]:
        """Make a batch to be passed on as ``model.patch(**batch)``.

        Raises
        ------
        ValueError
            If nothing of the batch can be patched, for instance because the perturbation changed
            none of its documents.
        TypeError
            If an item of the batch is no query and text; says which.
        """
        pairs = [self._perturb(item, i) for i, item in enumerate(batch)]
        fits = [self._query_length(pair) <= self.q_max_length for pair in pairs]
        aligned = align(
            compress(pairs, fits),
            self.tokenizer,
            kind=self.kind,
            filler=self.special_token,
            max_length=min(self._max_length(), self.tokenizer.model_max_length),
            prompts=self.prompts,
        )
        too_long = tuple(
            Skipped(pair.query_id, pair.doc_id, "query longer than q_max_length")
            for pair, fit in zip(pairs, fits, strict=True)
            if not fit
        )
        aligned = replace(aligned, skipped=too_long + aligned.skipped)
        if not aligned.aligned:
            raise ValueError(
                f"{pairs[0].axiom} left nothing to patch in a batch of {len(batch)}: "
                f"{_reasons(aligned.skipped)}. Each batch needs one pair that can be aligned: take "
                "larger batches, or leave such pairs out of the dataset"
            )
        return {"aligned": aligned}

    def _perturb(self, given: Any, i: int) -> Pair:
        checked_kind(given, (tuple, list), f"batch[{i}]", "(query, text), as a dataset yields them")
        item = Item(*given)
        own = self.transformation_func
        own = own if isinstance(own, Perturbation) else Perturbation(own)
        query, text = checked_text(item.query, f"query {i}"), checked_text(item.text, f"text {i}")
        perturbed = own(text, query)
        return Pair(
            query_id=item.query_id,
            doc_id=item.doc_id,
            query=query,
            baseline=text,
            perturbed=perturbed,
            axiom=own.__name__,
            expected_sign=own.expected_sign,
            relevance=item.relevance,
            edit=difference(text, perturbed),
        )

    def _query_length(self, pair: Pair) -> int:
        return len(self.tokenizer(pair.query, truncation=False, verbose=False)["input_ids"])

    def _max_length(self) -> int:
        # In a sequence that holds both, each keeps the room of its own, as in MechIR.
        reads_together = find_kind(self.kind).reads_together
        return self.d_max_length + self.q_max_length * reads_together


class DotDataCollator(DataCollator):
    """Perturbs and aligns batches for a bi-encoder, see `DataCollator`."""

    kind = "dot"


class CatDataCollator(DataCollator):
    """Perturbs and aligns batches for a cross-encoder, see `DataCollator`."""

    kind = "cat"


class SparseDataCollator(DataCollator):
    """Perturbs and aligns batches for a learned-sparse ranker, see `DataCollator`."""

    kind = "sparse"


class MultiVectorDataCollator(DataCollator):
    """Perturbs and aligns batches for a multi-vector ranker, see `DataCollator`.

    Its markers are prompts, so ``prompts=model.prompts`` has to be passed.
    """

    kind = "multi-vector"


@dataclass(frozen=True)
class MonoT5DataCollator(DataCollator):
    """Perturbs and aligns batches for a MonoT5, in its prompts; see `DataCollator`."""

    prompts: tuple[str, ...] = PROMPTS

    kind = "monot5"


def _reasons(skipped: Iterable[Skipped]) -> str:
    counts = Counter(skip.reason for skip in skipped)
    return ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
