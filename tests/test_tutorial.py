"""The profile that decides how much a notebook computes."""

import pytest

from mechir_edu.checks import tutorial


@pytest.mark.parametrize(("said", "picked"), [(None, 48), ("", 48), ("0", 48), ("1", 8)])
def test_the_environment_picks_the_size(monkeypatch, said, picked):
    monkeypatch.delenv("MECHIR_EDU_FAST", raising=False)
    if said is not None:
        monkeypatch.setenv("MECHIR_EDU_FAST", said)
    assert tutorial.pick(48, 8) == picked
    assert tutorial.fast() == (picked == 8)
