"""The command line: ``mechir-edu demo | patch | prefetch | tutorials | check``; and `demonstrate`.

::

    main         the commands, exit codes, errors
    arguments    what several commands' arguments share
    demo         ``demo``: arguments, files
    experiments  the demonstration as a function           demonstrate
    summary      the demonstration in words
    patch        ``patch``: one ranker and axiom, into a folder
    prefetch     ``prefetch``: download, bundle, install
    tutorials    ``tutorials``: copy the notebooks
    check        ``check``: what is installed, cached and missing
    offline/     caches, and bundles of what is in them

Arguments stand beside their command; what is heavy is imported when a command runs.
"""
