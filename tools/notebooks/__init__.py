"""What tools/build_notebooks.py is made of; its docstring has the conventions.

Data flows one way: ``sources`` reads the hand-written sources, ``copies`` makes the two notebooks
of each (and the rehearsal that tests run in their place), ``execution`` fills them in, ``outputs``
cleans what came out, ``comparison`` finds notebooks that are not as built, ``lint`` finds broken
promises, ``table`` writes the README's list and ``costs`` the instructors' table of seconds.
``frame`` has what every notebook begins and ends with, ``glossary`` links its words,
``predictions`` keeps answers hidden, and ``wakeful`` keeps a run from stalling; ``forks`` runs
rehearsals without the start of a kernel.
"""
