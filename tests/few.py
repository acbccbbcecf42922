"""Which cases of a test run in make test, and which in make long alone."""

import pytest


def few(cases, kept):
    """Cases of a test, of which those that are not kept run in make long alone.

    kept : cases that differ in what they exercise; the others repeat it
    """
    missing = [case for case in kept if case not in cases]
    assert not missing, f"not among the cases: {missing}"
    return [case if case in kept else pytest.param(case, marks=pytest.mark.long) for case in cases]
