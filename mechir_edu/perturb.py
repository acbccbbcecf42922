"""Perturb documents so that one retrieval axiom says how their scores should change.

`make_pairs` draws judged pairs from a collection and applies one axiom of `AXIOMS`, or a function
of your own marked with `perturbation`, to each.

Conventions
-----------
*baseline* is the document as the collection has it; *perturbed* is the same document after one
edit. The *score change* is perturbed score minus baseline score, and ``Pair.expected_sign`` is the
sign that the axiom predicts for it. Pairs that an axiom cannot be applied to are counted in
``PairList.skipped``, never dropped silently.
"""

import difflib
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, update_wrapper
from typing import Any, Literal

from mechir_edu.axioms import AXIOMS
from mechir_edu.collection import Collection, Judged, Skipped
from mechir_edu.edits import Change, Edit, Place
from mechir_edu.setting import Axiom, NotApplicable, Setting, letters_in_threes

__all__ = ["AXIOMS", "Axiom", "Edit", "Pair", "PairList", "Perturbation", "make_pairs"]
__all__ += ["difference", "perturbation"]


@dataclass(frozen=True)
class Pair:
    """One query with two versions of one document, differing by a single edit.

    Attributes
    ----------
    query_id, doc_id, query : as in the collection.
    baseline, perturbed : the document before and after the edit.
    axiom : a key of `AXIOMS`, or the name of a function of your own.
    expected_sign : sign of the score change that the axiom predicts; 0 for a control, or where
        nothing is predicted.
    relevance : the grade of the document for the query, where it has one.
    term : the word that was added or moved, where the edit is about one.
    edit : where the two versions differ; decides where a diff would be ambiguous ("reef" added
        behind "reef").
    perturbed_query : set where the query is what is perturbed; then both documents are equal.
    """

    query_id: str
    doc_id: str
    query: str
    baseline: str
    perturbed: str
    axiom: str
    expected_sign: Literal[1, -1, 0]
    relevance: int | None = None
    term: str | None = None
    edit: Edit | None = None
    perturbed_query: str | None = None

    def __post_init__(self) -> None:
        if self.expected_sign not in (1, -1, 0):
            raise ValueError(
                f"expected_sign of pair ({self.query_id}, {self.doc_id}) must be 1, -1 or 0 "
                f"(a control), got {self.expected_sign!r}"
            )


class PairList(list[Pair]):
    """A list of pairs that remembers, in ``skipped``, what could not be made into one."""

    def __init__(self, pairs: Iterable[Pair] = (), skipped: Iterable[Skipped] = ()):
        super().__init__(pairs)
        self.skipped = list(skipped)


class Perturbation:
    """A function that edits a document, callable as ``(document, query=None)``.

    Made by `perturbation`. Keeps the function's name and docstring.
    """

    def __init__(self, function: Callable[..., str], expected_sign: Literal[1, -1, 0] = 0):
        if not callable(function):
            raise TypeError(
                f"perturbation needs a function f(document) or f(document, query), got {function!r}"
            )
        update_wrapper(self, function, updated=())
        self.__name__ = _name(function)
        self.function = function
        self.expected_sign = expected_sign
        self.takes_query = _takes_query(function)

    def __call__(self, document: str, query: str | None = None) -> str:
        """Edit a document."""
        if self.takes_query and query is None:
            raise TypeError(f"{self.__name__} reads the query; call it with (document, query)")
        edited = self.function(document, query) if self.takes_query else self.function(document)
        if not isinstance(edited, str):
            raise TypeError(
                f"{self.__name__} must return the edited document, a str; got {edited!r}"
            )
        return edited

    def __repr__(self) -> str:
        return f"<perturbation {self.__name__}>"


def perturbation(
    function: Callable[..., str] | None = None, *, expected_sign: Literal[1, -1, 0] = 0
) -> Any:
    """Mark a function of your own as a perturbation.

    Parameters
    ----------
    function : any callable ``f(document)`` or ``f(document, query)`` that returns the edited
        document. A second parameter is given the query if it is called ``query`` or has no
        default.
    expected_sign : the sign of the score change that you predict, 0 for no prediction.

    Returns
    -------
    Perturbation
        Callable as ``(document, query=None)``.

    Examples
    --------
    >>> @perturbation
    ... def shout(document):
    ...     return document.upper()
    >>> shout("coral")
    'CORAL'
    >>> @perturbation(expected_sign=1)
    ... def repeat_query(document, query):
    ...     return f"{query} {document}"
    >>> repeat_query("reefs", "coral")
    'coral reefs'
    """
    if function is None:
        return lambda function: Perturbation(function, expected_sign)
    return Perturbation(function, expected_sign)


def difference(baseline: str, perturbed: str) -> Edit:
    """Find the one span in which two texts differ.

    A text that was added whole behind or before the other is found there; otherwise the span is
    what is left between the longest common start and the longest common end.

    Examples
    --------
    >>> difference("a reef", "a coral reef")
    Edit(baseline=(2, 2), perturbed=(2, 8))
    >>> difference("reef", "reef reef")
    Edit(baseline=(4, 4), perturbed=(4, 9))
    """
    shorter = min(len(baseline), len(perturbed))
    start = len(os.path.commonprefix([baseline, perturbed]))
    end = len(os.path.commonprefix([baseline[::-1], perturbed[::-1]]))
    if start < shorter == end:
        start = 0
    end = min(end, shorter - start)
    return Edit((start, len(baseline) - end), (start, len(perturbed) - end))


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
    ValueError
        If the axiom or the place is unknown, n is not positive or a grade does not occur.

    Examples
    --------
    >>> from mechir_edu.collection import load_collection
    >>> pairs = make_pairs(load_collection("embedded"), "TFC1", n=8, seed=5)
    >>> [pair.relevance for pair in pairs]
    [3, 2, 1, 0, 3, 2, 1, 0]
    >>> all(pair.perturbed == f"{pair.baseline} {pair.term}" for pair in pairs)
    True
    """
    edit = perturber(collection, axiom, seed=seed, place=place, length=length)
    return PairList(*collection.draw(n, edit, seed=seed, grades=grades))


def perturber(
    collection: Collection,
    axiom: str | Axiom | Callable[..., str],
    *,
    seed: int = 0,
    place: Place = "end",
    length: Callable[[str], int] = letters_in_threes,
) -> Callable[[Judged], Pair | Skipped]:
    """Make the function that applies one axiom to a judged pair, or says why it cannot be.

    For those who draw the judged pairs themselves, such as pairs that suit several axioms.
    Parameters and errors are those of `make_pairs`.
    """
    if place not in ("end", "start"):
        raise ValueError(f'place must be "end" or "start", got {place!r}')
    rule = _as_axiom(axiom)
    setting = Setting(collection.statistics, seed, place, lru_cache(maxsize=None)(length))

    def use(judged: Judged) -> Pair | Skipped:
        try:
            return _pair(judged, rule, setting)
        except NotApplicable as unfit:
            return Skipped(judged.query_id, judged.doc_id, str(unfit))

    return use


def _pair(judged: Judged, axiom: Axiom, setting: Setting) -> Pair:
    if not judged.text.strip():
        raise NotApplicable("document is empty")
    change = axiom.apply(judged, setting)
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
        if axiom not in AXIOMS:
            near = difflib.get_close_matches(axiom.upper(), AXIOMS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"no axiom is called {axiom!r}; {hint}There are {', '.join(AXIOMS)}")
        return AXIOMS[axiom]
    own = axiom if isinstance(axiom, Perturbation) else Perturbation(axiom)
    return Axiom(
        name=own.__name__,
        statement=inspect.getdoc(own.function) or own.__name__,
        source="your own function",
        precondition="it changes the document and leaves some of it",
        expected_sign=own.expected_sign,
        apply=lambda judged, setting: _changed(judged, own),
    )


def _changed(judged: Judged, own: Perturbation) -> Change:
    text = own(judged.text, judged.query)
    if text == judged.text:
        raise NotApplicable("perturbation changes nothing")
    if not text.strip():
        raise NotApplicable("perturbation leaves nothing")
    return Change(text, difference(judged.text, text))


def _name(function: Callable) -> str:
    # A partial has no name of its own, an instance of a callable class neither.
    inner = getattr(function, "func", function)
    return getattr(inner, "__name__", type(inner).__name__)


def _takes_query(function: Callable) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # some built-in functions do not say
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    second = positional[1:2]
    return any(p.name == "query" or p.default is p.empty for p in second)
