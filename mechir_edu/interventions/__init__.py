"""Change a ranker for every text that it reads, and measure what becomes of its rankings.

::

    heads        knock heads out, or scale what they say                  Knockout, Scale
    steering     add a direction to heads or to the stream                Steer, SteerResidual
    cuts         cut attention from one role's tokens to another's   Cut
    directions   where directions come from
    intervened   a ranker under one of these changes                      -> Intervened

    candidates   which passages are ranked, and in which order scores put them
    reranking    rank them, without and with a change                     evaluate, compare
    circuits     rank by a circuit alone                              rank_faithfulness
    evaluation   measures, and their paired difference                    -> Evaluation, Comparison
    pyterrier    the same ranker in PyTerrier's pipelines
"""
