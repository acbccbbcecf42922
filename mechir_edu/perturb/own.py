"""Perturbations of your own: a function that edits a document, and where its edit lies."""

import importlib.util
import inspect
import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import update_wrapper
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from mechir_edu.collection.given import described
from mechir_edu.collection.judged import Judged
from mechir_edu.files import sha256
from mechir_edu.perturb.axiom import Axiom, NotApplicable
from mechir_edu.perturb.edits import Change, Edit


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
                f"{self.__name__} must return the edited document, a str; got {described(edited)}"
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


def axiom_of(function: Callable[..., str]) -> Axiom:
    """Describe a function of your own as an axiom; it has no control.

    Raises
    ------
    TypeError
        For anything that cannot be called.
    """
    own = function if isinstance(function, Perturbation) else Perturbation(function)
    return Axiom(
        name=own.__name__,
        statement=inspect.getdoc(own.function) or own.__name__,
        source="your own function",
        precondition="it changes the document and leaves some of it",
        expected_sign=own.expected_sign,
        apply=lambda judged, context: _changed(judged, own),
    )


def axiom_in_file(place: str) -> Axiom:
    """Run a Python file and make an axiom of a function in it, as in ``"my_axioms.py:shout"``.

    The axiom's source names the file and its SHA-256.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file fails when it is run, or does not define the function.
    """
    file, _, name = place.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"needed FILE.py:FUNCTION, got {place!r}: there is no file {file}")
    defined = vars(_run(path))
    functions = [
        key
        for key, value in defined.items()
        if callable(value) and value.__module__ == path.stem and key[0] != "_"
    ]
    if not callable(defined.get(name)):
        there = f"it defines {', '.join(functions)}" if functions else "it defines no function"
        raise ValueError(f"{file} has no function {name!r} that edits a document; {there}")
    return replace(axiom_of(defined[name]), source=f"{path.name}, SHA-256 {sha256(path)}")


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"needed a Python file, such as my_axioms.py, got {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the file raises
        frames = traceback.walk_tb(error.__traceback__)
        lines = [line for frame, line in frames if frame.f_globals is vars(module)]
        where = f" in line {lines[-1]}" if lines else ""
        raise ValueError(f"{path} fails{where}: {type(error).__name__}: {error}") from error
    return module


def _changed(judged: Judged, own: Perturbation) -> Change:
    text = own(judged.text, judged.query)
    if text == judged.text:
        raise NotApplicable("perturbation changes nothing")
    if not text.strip():
        raise NotApplicable("perturbation leaves nothing")
    return Change(text, difference(judged.text, text))


def difference(baseline: str, perturbed: str) -> Edit:
    """Find the one span in which two texts differ.

    Where one text is the other with something added at its end or start, the span is that addition;
    otherwise it lies between the longest common start and the longest common end.

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
