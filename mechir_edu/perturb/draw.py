"""Draw judged pairs from a collection and perturb the document of each by one axiom."""

import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.given import checked_kind, checked_number
from mechir_edu.collection.judged import Judged, Skipped
from mechir_edu.perturb.axiom import Axiom, AxiomContext, NotApplicable, letters_in_threes
from mechir_edu.perturb.axioms.registry import find_axiom
from mechir_edu.perturb.edits import Place
from mechir_edu.perturb.own import axiom_of
from mechir_edu.perturb.pair import Pair, PairList


def make_pairs(
    collection: Collection,
    axiom: str | Axiom | Callable[..., str],
    n: int | None = None,
    *,
    seed: int = 0,
    place: Place = "end",
    grades: Iterable[int] | None = None,
    length: Callable[[str], int] = letters_in_threes,
) -> PairList:
    """Draw judged pairs and apply one axiom to each document.

    Parameters
    ----------
    collection : from `mechir_edu.load_collection`.
    axiom : a name in `AXIOMS` (an axiom, or its control such as ``"TFC1-control"``), or a function
        of your own, ``f(document)`` or ``f(document, query)``.
    n : pairs wanted, up to 1000 when omitted, drawn as by `Collection.sample`, evenly over grades.
        A pair that the axiom cannot be applied to is replaced by the next of its grade.
    seed : of the sample and of the axiom's draws. With one seed, an axiom and its control use the
        same judged pairs (as long as neither skips one) and the control matches the very word
        that the axiom added.
    place : where words are inserted, ``"end"`` or ``"start"``.
    grades : the grades to draw from; all when omitted.
    length : a word's length in word pieces, by which control words are matched, such as
        ``lambda word: len(tokenizer.tokenize(word))``; guessed from its letters when omitted.

    Returns
    -------
    PairList
        Fewer than n where the collection does not supply as many; see its ``skipped``. A warning
        says so where there are fewer judged pairs than n.

    Raises
    ------
    TypeError, ValueError
        If the axiom or the place is unknown, n is not positive, a grade does not occur, or an
        argument is of the wrong kind.

    Examples
    --------
    >>> from mechir_edu.collection.load import load_collection
    >>> pairs = make_pairs(load_collection("embedded"), "TFC1", n=8, seed=5)
    >>> [pair.relevance for pair in pairs]
    [3, 2, 1, 0, 3, 2, 1, 0]
    >>> all(pair.perturbed == f"{pair.baseline} {pair.term}" for pair in pairs)
    True
    """
    make_pair = pair_maker(collection, axiom, seed=seed, place=place, length=length)
    pairs = PairList(
        *collection.draw(1000 if n is None else n, make_pair, seed=seed, grades=grades)
    )
    if n is not None and n > (n_tried := len(pairs) + sum(s.doc_id != "" for s in pairs.skipped)):
        note = f"{collection.name} has {n_tried} judged pairs, fewer than n={n}"
        warnings.warn(f"{note}; {len(pairs)} pairs were made", stacklevel=2)
    return pairs


def pair_maker(
    collection: Collection,
    axiom: str | Axiom | Callable[..., str],
    *,
    seed: int = 0,
    place: Place = "end",
    length: Callable[[str], int] = letters_in_threes,
) -> Callable[[Judged], Pair | Skipped]:
    """Make the function that applies one axiom to a judged pair, or says why it cannot be.

    Use it to draw the judged pairs yourself, such as pairs that suit several axioms. Parameters
    and errors are those of `make_pairs`.
    """
    if place not in ("end", "start"):
        raise ValueError(f'place must be "end" or "start", got {place!r}')
    checked_kind(collection, Collection, "collection", "what load_collection gives", axiom=axiom)
    seed, axiom = checked_number(seed, "seed"), as_axiom(axiom)
    context = AxiomContext(collection.statistics, seed, place, lru_cache(maxsize=None)(length))

    def make_pair(judged: Judged) -> Pair | Skipped:
        try:
            return _pair(judged, axiom, context)
        except NotApplicable as unfit:
            return Skipped(judged.query_id, judged.doc_id, str(unfit))

    return make_pair


def _pair(judged: Judged, axiom: Axiom, context: AxiomContext) -> Pair:
    if not judged.text.strip():
        raise NotApplicable("document is empty")
    change = axiom.apply(judged, context)
    return Pair(
        query_id=judged.query_id,
        doc_id=judged.doc_id,
        query=judged.query,
        baseline=judged.text,
        perturbed=change.text,
        axiom=axiom.name,
        expected_sign=axiom.expected_sign,
        relevance=judged.relevance,
        term=change.term,
        edit=change.edit,
        perturbed_query=change.query,
    )


def as_axiom(axiom: str | Axiom | Callable[..., str]) -> Axiom:
    """Find an axiom by its name, or make one of a function."""
    if isinstance(axiom, Axiom):
        return axiom
    return find_axiom(axiom) if isinstance(axiom, str) else axiom_of(axiom)
