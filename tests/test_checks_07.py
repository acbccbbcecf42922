from itertools import product

import numpy as np
import pytest

from mechir_edu.checks.checks_07 import check_attribution, check_read_circuit


def read_circuit(matrix, senders, receivers, at_least):
    cells = zip(product(senders, receivers), np.ravel(matrix), strict=True)
    return {edge for edge, value in cells if abs(value) >= at_least}


def attribution(recipient_z, donor_z, gradient):
    return ((donor_z - recipient_z) * gradient).sum(dim=(0, 2))


def stub(*arguments):
    raise NotImplementedError


WRONG_CIRCUITS = {
    "compare absolute values": lambda m, s, r, t: read_circuit(np.maximum(m, 0), s, r, t),
    "exactly at_least": lambda m, s, r, t: read_circuit(m, s, r, t + 1e-9),
    "a mask of the matrix": lambda m, s, r, t: np.abs(m) >= t,
    "rows are senders": lambda m, s, r, t: {(b, a) for a, b in read_circuit(m, s, r, t)},
    "look the heads up": lambda m, s, r, t: {tuple(place) for place in np.argwhere(abs(m) >= t)},
    "all paths": lambda m, s, r, t: read_circuit(m, s, r, 0),
}
WRONG_ESTIMATES = {
    "donor minus recipient": lambda r, d, g: attribution(d, r, g),
    "not its difference": lambda r, d, g: attribution(0, d, g),
    "this is a mean": lambda r, d, g: ((d - r) * g).mean(dim=(0, 2)),
    "effects may cancel": lambda r, d, g: ((d - r) * g).abs().sum(dim=(0, 2)),
    "keep the heads": lambda r, d, g: ((d - r) * g).sum(dim=(1, 2)),
    "positions are still apart": lambda r, d, g: ((d - r) * g).sum(dim=2),
    "dimensions of z are still apart": lambda r, d, g: ((d - r) * g).sum(dim=0),
    "one for each head": lambda r, d, g: ((d - r) * g).sum(),
}


@pytest.mark.parametrize(("sentence", "wrong"), WRONG_CIRCUITS.items())
def test_a_wrong_circuit_hears_its_mistake(sentence, wrong, capsys):
    check_read_circuit(wrong)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(("sentence", "wrong"), WRONG_ESTIMATES.items())
def test_a_wrong_estimate_hears_its_mistake(sentence, wrong, capsys):
    check_attribution(wrong)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize("check", [check_read_circuit, check_attribution])
def test_an_untouched_stub_is_not_attempted_yet(check, capsys):
    check(stub)
    assert capsys.readouterr().out.startswith("Not attempted yet")


def test_the_solutions_pass():
    check_read_circuit(read_circuit, strict=True)
    check_attribution(attribution, strict=True)
