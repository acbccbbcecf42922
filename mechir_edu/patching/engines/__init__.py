"""Ways to compute what patching asks for; `hooks` is the reference that the others equal.

::

    hooks      through hooks, for any architecture
    prefix     the same of a decoder, behind the first edited token
    branch     patched runs on weights alone, for which `products` finds the faster library:
    suffix       exact and fast, for post-LN encoders
    causal       the same for decoders, made of `pre_ln` blocks
    encoder_decoder   the same for T5
    choice     which of them may patch a ranker
    gradient   estimates of all cells from one gradient
    screening  a gradient first, then as many exact patches as the top k needs
    threads    several batches side by side
"""
