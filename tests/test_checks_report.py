import numpy as np
import pytest
import torch

from mechir_edu.checks._report import WrongAnswer, attempt, checker, mistake_in, same


@checker("twice is twice.")
def check_twice(answer):
    """Check a function that doubles."""
    return mistake_in(attempt(answer, 3.0), 6.0, {"you squared it.": 9.0})


def stub(x):
    raise NotImplementedError


def said(capsys, answer):
    check_twice(answer)
    return capsys.readouterr().out


def test_a_right_answer_hears_the_point_of_the_exercise(capsys):
    assert said(capsys, lambda x: 2 * x) == "Right: twice is twice.\n"


def test_a_catalogued_mistake_is_named(capsys):
    assert said(capsys, lambda x: x**2) == "Not yet: you squared it.\n"


def test_another_mistake_is_shown_without_the_right_answer(capsys):
    assert "7.0 is not" in said(capsys, lambda x: 7.0)


@pytest.mark.parametrize("untouched", [stub, lambda x: None, lambda x: ..., None, ...])
def test_a_stub_is_not_attempted_yet(capsys, untouched):
    assert said(capsys, untouched).startswith("Not attempted yet")


def test_a_function_without_a_return_is_told_so(capsys):
    assert "end it with return" in said(capsys, lambda x: None)


def test_a_number_is_shown_as_a_number(capsys):
    assert "7.5 is not" in said(capsys, lambda x: np.float64(7.5))


def test_an_answer_that_stops_says_with_what(capsys):
    assert "ZeroDivisionError" in said(capsys, lambda x: x / 0)


@pytest.mark.parametrize("wrong", [stub, lambda x: 9.0, lambda x: x / 0])
def test_strict_raises_for_anything_that_is_not_right(wrong):
    with pytest.raises(WrongAnswer, match="check_twice"):
        check_twice(wrong, strict=True)


def test_the_environment_makes_checks_strict(monkeypatch):
    monkeypatch.setenv("MECHIR_EDU_STRICT", "1")
    with pytest.raises(WrongAnswer, match="squared"):
        check_twice(lambda x: x**2)


def test_numbers_are_compared_whatever_holds_them():
    assert same([1, 2.0], torch.tensor([1.0, 2.0]))
    assert not same(np.ones(2), np.ones((1, 2)))
    assert same({(0, 1)}, {(0, 1)})
    assert not same("1", 1)
