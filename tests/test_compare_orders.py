"""The page that compares searched orders of heads says what its data say."""

import json
from itertools import product
from pathlib import Path

import compare_orders
import numpy as np
import pytest

from mechir_edu.patching.circuits.options import ORDERS

PAGE = compare_orders.DATA.with_name("orders.md")


@pytest.fixture(scope="module")
def data():
    return json.loads(compare_orders.DATA.read_text("utf-8"))


def test_the_page_is_what_its_data_give(data):
    assert PAGE.read_text("utf-8") == compare_orders.page(data), (
        "run python tools/compare_orders.py --into docs/study/orders.md"
    )


def test_the_data_are_whole_and_hold_no_passage(data):
    assert Path(compare_orders.DATA).stat().st_size < 200_000
    for of_axiom in data["axioms"].values():
        shape = (2, len(data["sizes"]), len(of_axiom["queries"]))
        for name, order in of_axiom["orders"].items():
            assert name in ORDERS
            assert sorted(map(tuple, order["order"])) == list(product(range(8), range(12)))
            effects = np.array(order["effects"])
            assert effects.shape == shape
            # No head: nothing. All heads: the whole change, by either question.
            np.testing.assert_allclose(effects[:, 0], 0, atol=1e-3)
            whole = np.broadcast_to(of_axiom["change"], effects[:, -1].shape)
            np.testing.assert_allclose(effects[:, -1], whole, atol=1e-3)
