"""Check the tutorials' exercises: one sentence for an answer, which never stops the notebook.

Each notebook's checks stand in a module of their own and are found here by name::

    me.checks.check_recovery(recovery)               # prints one sentence
    me.checks.check_recovery(recovery, strict=True)  # raises unless the answer is right

An untouched stub is "not attempted yet"; common wrong answers get a sentence that names the
mistake. ``MECHIR_EDU_STRICT=1`` in the environment makes every check strict.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "check_effect_of_head": "checks_01",
    "check_head_outputs": "checks_01",
    "check_add_rarest_term": "checks_02",
    "check_fill_gap": "checks_02",
    "check_patch_every_head": "checks_03",
    "check_recovery": "checks_03",
    "check_three_runs": "checks_03",
    "check_heads_that_stand": "checks_04",
    "check_rank_correlation": "checks_04",
    "check_attention_to_role": "checks_05",
    "check_patch_positions": "checks_05",
    "check_flip_by_query": "checks_06",
    "check_matched_contrast": "checks_06",
    "check_attribution": "checks_07",
    "check_read_circuit": "checks_07",
    "check_choose_factor": "checks_08",
    "check_random_heads": "checks_08",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"mechir_edu.checks.{_HOME[name]}"), name)
    raise AttributeError(f"there is no {name!r} in mechir_edu.checks; there are {__all__}")


def __dir__() -> list[str]:
    return __all__
