"""What is said of a long computation, where, and how it goes away again."""

import io
from contextlib import redirect_stderr

import pytest

import mechir_edu as me
from mechir_edu.collection import progress
from mechir_edu.collection.collection import Collection
from mechir_edu.collection.sources import PassagesInMemory


class Screen(io.StringIO):
    """A terminal, or a file; it keeps what was written."""

    def __init__(self, *, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.fixture
def terminal(monkeypatch):
    """Put a terminal, on which bars appear at once, in place of standard error while a test runs.

    Called by the test itself, because pytest has standard error for itself in between.
    """
    monkeypatch.setattr(progress, "SECONDS_BEFORE_A_BAR", 0)
    return lambda: redirect_stderr(Screen(is_terminal=True))


@pytest.fixture(scope="module")
def pairs():
    return me.make_pairs(me.load_collection("embedded"), "TFC1", n=4)


def last_line(screen):
    return screen.getvalue().rpartition("\r")[0].rpartition("\r")[2]


def test_what_is_quick_leaves_no_trace():
    with redirect_stderr(Screen(is_terminal=True)) as screen:
        with progress.bar(3, "scoring") as shown:
            shown.update(3)
    assert screen.getvalue() == ""


def test_stages_name_what_is_done_and_are_wiped_out(terminal):
    with terminal() as screen, progress.stages("Dot", "loading"):
        progress.next_stage("comparing")
    before, after = "\rDot: loading", "\rDot: comparing"
    assert screen.getvalue().index(before) < screen.getvalue().index(after)
    assert last_line(screen).strip() == ""


def test_stages_within_stages_belong_to_the_outermost(terminal):
    with terminal() as screen, progress.stages("Dot", "loading"):
        with progress.stages("Cat", "loading"):
            progress.next_stage("comparing")
    assert "Dot: comparing" in screen.getvalue()
    assert "Cat" not in screen.getvalue()


def test_stages_off_a_terminal_say_nothing():
    with redirect_stderr(Screen(is_terminal=False)) as screen:
        with progress.stages("Dot", "loading"):
            progress.next_stage("comparing")
        progress.next_stage("done")
    assert screen.getvalue() == ""


def test_loading_a_ranker_says_that_it_is_compared_with_hugging_face(terminal):
    with terminal() as screen:
        me.Cat("planted")
    assert "Cat: loading" in screen.getvalue()
    assert "Cat: comparing with Hugging Face's model" in screen.getvalue()


def test_scoring_shows_a_bar_unless_told_not_to(terminal, planted, pairs):
    with terminal() as screen:
        quiet = me.score_pairs(planted, pairs, progress=False)
    assert screen.getvalue() == ""
    with terminal() as screen:
        shown = me.score_pairs(planted, pairs)
    assert "scoring" in screen.getvalue()
    assert (shown.perturbed == quiet.perturbed).all()


def test_scoring_tells_a_function_how_many_pairs_are_done(planted, pairs):
    told = []
    me.score_pairs(planted, pairs, progress=told.append)
    assert sum(told) == 4


def test_counting_terms_shows_how_many_passages_were_read(terminal, tmp_path, monkeypatch):
    monkeypatch.setenv("MECHIR_EDU_CACHE", str(tmp_path))
    passages = PassagesInMemory({"d1": "a coral reef", "d2": "corals bleach"})
    with terminal() as screen:
        assert Collection("own", {}, {}, (passages,)).statistics().df["coral"] == 2
    assert "counting terms" in screen.getvalue()
    assert "/2" in screen.getvalue()
