"""Circuits: which heads are enough together, and which are needed.

::

    sets          score a batch with sets of heads put in, stacked            engine
    measure       restored by a set, survives without the rest
    orders        heads in the order in which a circuit takes them up
    options       what can be asked for, as one value
    circuit       circuit: all of this together                               -> CircuitResult
    result        restored and survives over sizes, areas, random orders
    folder        a run that is kept as it goes, and resumes
    completeness  a circuit against the whole ranker, heads knocked out of both
"""
