"""Circuits: which heads are enough together, and which are needed.

::

    sets          score a batch with sets of heads put in, stacked            engine
    measure       restored by a set, survives without the rest
    orders        heads in the order in which a circuit takes them up
    options       what can be asked for, as one value
    result        restored and survives over sizes, areas, random orders
    folder        parts of a run, kept as they come, so that it resumes
    circuit       circuit: all of this together                               -> CircuitResult
    completeness  a circuit against the whole ranker, heads knocked out of both
"""
