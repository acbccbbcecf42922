"""Which cases of a test run in make test, and which in make long alone."""

import pytest


def few(cases, kept):
    """Cases of a test, of which those that are not kept run in make long alone.

    cases : values of one argument, or tuples of values of several
    kept : cases that differ in what they exercise; the others repeat it
    """
    missing = [case for case in kept if case not in cases]
    assert not missing, f"not among the cases: {missing}"
    return [case if case in kept else in_make_long(case) for case in cases]


def in_make_long(case):
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.long)
