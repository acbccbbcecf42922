"""Choose how much a tutorial computes: all of it, or little enough to be through in a minute.

The environment variable ``MECHIR_EDU_FAST=1`` asks for little. What runs is the same code either
way, on fewer pairs, so that a notebook that passes fast is a notebook that works.
"""

import os
from typing import TypeVar

T = TypeVar("T")


def fast() -> bool:
    """Say whether the fast profile was asked for, by ``MECHIR_EDU_FAST`` in the environment."""
    return os.environ.get("MECHIR_EDU_FAST", "0") not in ("", "0")


def pick(full: T, little: T) -> T:
    """Pick a size: ``n = me.tutorial.pick(48, 8)`` is 48 pairs, or 8 in the fast profile."""
    return little if fast() else full
