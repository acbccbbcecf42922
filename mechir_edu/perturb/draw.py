"""Draw judged pairs from a collection and perturb the document of each by one axiom."""

import inspect
from collections.abc import Callable, Iterable
from functools import lru_cache

from mechir_edu.collection.collection import Collection
from mechir_edu.collection.given import checked_kind, checked_number
from mechir_edu.collection.judged import Judged, Skipped
from mechir_edu.perturb.axiom import Axiom, AxiomContext, NotApplicable, letters_in_threes
from mechir_edu.perturb.axioms.registry import find_axiom
from mechir_edu.perturb.edits import Change, Place
from mechir_edu.perturb.own import Perturbation, difference
from mechir_edu.perturb.pair import Pair, PairList


def make_pairs(
    collection: Collection,
    axiom: str | Axiom | Callable[..., str],
    n: int = 1000,
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
    n : pairs wanted, drawn as by `Collection.sample`, evenly over grades. A pair that the axiom
        cannot be applied to is replaced by the next of its grade.
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
        Fewer than n where the collection does not supply as many; see its ``skipped``.

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
    return PairList(*collection.draw(n, make_pair, seed=seed, grades=grades))


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
    seed, axiom = checked_number(seed, "seed"), _as_axiom(axiom)
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


def _as_axiom(axiom: str | Axiom | Callable[..., str]) -> Axiom:
    """Find an axiom by its name, or make one of a function."""
    if isinstance(axiom, Axiom):
        return axiom
    if isinstance(axiom, str):
        return find_axiom(axiom)
    own = axiom if isinstance(axiom, Perturbation) else Perturbation(axiom)
    return Axiom(
        name=own.__name__,
        statement=inspect.getdoc(own.function) or own.__name__,
        source="your own function",
        precondition="it changes the document and leaves some of it",
        expected_sign=own.expected_sign,
        apply=lambda judged, context: _changed(judged, own),
    )


def _changed(judged: Judged, own: Perturbation) -> Change:
    text = own(judged.text, judged.query)
    if text == judged.text:
        raise NotApplicable("perturbation changes nothing")
    if not text.strip():
        raise NotApplicable("perturbation leaves nothing")
    return Change(text, difference(judged.text, text))
