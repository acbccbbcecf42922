import json

import numpy as np
import pytest
import torch

import mechir_edu as me
from mechir_edu.checks import _record
from mechir_edu.checks._report import WrongAnswer, attempt, checker, mistake_in, same


@pytest.fixture(autouse=True)
def _own_record(monkeypatch, tmp_path):
    monkeypatch.setattr(_record, "FILE", tmp_path / "work" / "exercises.json")
    monkeypatch.setattr(_record, "_here", {})


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


def mistake(given, right):
    return mistake_in(given, right, {})


def test_a_right_shape_is_not_blamed_and_the_wrong_numbers_are_counted():
    given, right = np.zeros((3, 5, 4)), np.zeros((3, 5, 4))
    given[1:, :, :3] = 1
    said = mistake(given, right)
    assert said == ("the shape is right, the numbers are not: 30 of 60 differ, first at [1, 0, 0].")


def test_a_wrong_shape_is_told_with_the_right_one():
    assert mistake(np.zeros(3), np.zeros((3, 2))) == "the shape is (3,), and should be (3, 2)."
    assert mistake(1.5, np.zeros(2)) == "the shape is (), and should be (2,)."


def test_of_a_wrong_set_the_wrong_and_the_missing_are_counted():
    assert mistake({1, 2, 3}, {1, 4}) == "of the 3 that you list, 2 are wrong; 1 are missing."


def test_lists_of_unequal_lengths_are_an_answer_too():
    ragged = [np.zeros((2, 3)), np.zeros((2, 4))]
    assert "is not the answer" in mistake(ragged, np.zeros(2))


def test_a_check_that_takes_a_while_says_what_it_does(capsys):
    slow = checker("fine.", trying="on many texts")(lambda answer: None)
    slow(1)
    assert capsys.readouterr().out == "Checking on many texts ...\nRight: fine.\n"


def test_progress_counts_the_last_verdict_of_each_exercise(capsys):
    me.tutorial.progress()
    assert "0 of 21 exercises right" in capsys.readouterr().out
    _record.write("check_recovery", True)
    _record.write("check_fill_gap", True)
    _record.write("check_fill_gap", False)
    me.tutorial.progress()
    said = capsys.readouterr().out
    assert said.startswith("1 of 21 exercises right")
    assert "03: 1 of 3" in said
    assert "02: 0 of 2" in said


def test_verdicts_of_other_notebooks_are_kept(monkeypatch):
    _record.write("check_recovery", True)
    monkeypatch.setattr(_record, "_here", {})  # another kernel
    _record.write("check_fill_gap", True)
    assert _record.read() == {"check_recovery": True, "check_fill_gap": True}


@pytest.mark.parametrize("text", ["{", "[]", '{"check_recovery": "yes", "unknown": true}'])
def test_a_record_that_cannot_be_read_counts_nothing(text, capsys):
    _record.FILE.parent.mkdir()
    _record.FILE.write_text(text)
    me.tutorial.progress()
    assert capsys.readouterr().out.startswith("0 of 21")


def test_where_nothing_can_be_written_this_kernel_counts(monkeypatch, tmp_path, capsys):
    (tmp_path / "work").write_text("a file in the folder's place")
    _record.write("check_recovery", True)
    me.tutorial.progress()
    assert capsys.readouterr().out.startswith("1 of 21")


def test_a_check_keeps_its_verdict():
    check_twice(lambda x: 2 * x)
    assert json.loads(_record.FILE.read_text()) == {"check_twice": True}
