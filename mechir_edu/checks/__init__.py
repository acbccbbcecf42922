"""Check the tutorials' exercises: one sentence for an answer, which never stops the notebook.

::

    me.checks.check_recovery(recovery)               # prints one sentence
    me.checks.check_recovery(recovery, strict=True)  # raises unless the answer is right

An untouched stub is "not attempted yet"; common wrong answers get a sentence that names the
mistake. ``MECHIR_EDU_STRICT=1`` in the environment makes every check strict.

In reading order::

    _report                  how every check works
    _record                  which exercises are right, kept in my-work/ beside the notebooks
    _planted                 the ranker on which some checks try an answer
    checks_01 to checks_11   a tutorial's checks each; all are offered here
    tutorial                 how much a tutorial computes        me.tutorial
"""

import lazy_loader

EXERCISES = {
    "01": ["check_effect_of_head", "check_head_outputs"],
    "02": ["check_add_rarest_term", "check_fill_gap"],
    "03": ["check_patch_every_head", "check_recovery", "check_three_runs"],
    "04": ["check_rank_correlation", "check_significant_heads"],
    "05": ["check_attention_to_role", "check_patch_positions"],
    "06": ["check_flip_by_query", "check_matched_contrast"],
    "07": ["check_attribution", "check_read_circuit"],
    "08": ["check_choose_factor", "check_random_heads"],
    "10": ["check_bugs", "check_held_out_correlation"],
    "11": ["check_drop_one_by_one", "check_two_protocols"],
}

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=("tutorial",),
    submod_attrs={f"checks_{notebook}": checks for notebook, checks in EXERCISES.items()},
)
