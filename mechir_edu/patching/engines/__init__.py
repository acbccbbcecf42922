"""Ways to compute what patching asks for; `hooks` is the reference that the others equal.

::

    hooks      through hooks, for any architecture
    prefix     the same of a decoder, behind the first edited token
    suffix     exact and fast, for post-LN encoders
    products   the faster library of matrix products on a CPU
    gradient   estimates of all cells from one gradient
    screening  a gradient first, then as many exact patches as the top k needs
    threads    several batches side by side
"""
