"""Choose how much a tutorial computes: everything, or little enough to finish in a minute.

The environment variable ``MECHIR_EDU_FAST=1`` asks for little. The same code runs either way, only
on fewer pairs, so a notebook that passes in the fast profile works in full too.
"""

import os
from typing import TypeVar

T = TypeVar("T")


def fast() -> bool:
    """Whether ``MECHIR_EDU_FAST`` in the environment asks for the fast profile."""
    return os.environ.get("MECHIR_EDU_FAST", "0") not in ("", "0")


def pick(full: T, little: T) -> T:
    """Pick a size: ``n = me.tutorial.pick(48, 8)`` is 48 pairs, or 8 in the fast profile."""
    return little if fast() else full
