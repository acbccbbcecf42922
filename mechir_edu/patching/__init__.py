"""Patch activations of one run into another, and keep the score of every pair after every patch.

::

    rows           which positions one patch touches: all, each role, each position
    sweep          which cells are patched
    batches        pairs of one length, as inputs of a ranker
    budget         how much memory that may take
    options        what can be asked for, as one value
    scoring        align, score both versions, choose the direction
    engines/       the ways to compute a patch
    activation     patch: all of this together                            -> PatchingResult
    storage        results on disk
    result         what was measured, in subsets and tables
    long_runs/     more pairs than one sitting or one process allows

    approximation  how far a gradient's estimates are from exact patching
    elsewhere      what heads say on average, or in another pair
    ablation       that put in instead of the other version's z           -> PatchingResult
    scrubbing      whether a stated property is all that heads know
    paths          what one head tells another                            -> PathResult
    one_pair       a pair's tokens and scores, and where a head looks         -> PairReading
    role_attention how much attention passes from role to role            -> RoleAttention
"""
