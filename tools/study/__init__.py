"""Our study of TFC1 and TDC: do two rankers obey them, and which heads carry that.

In the order in which data flow::

    plan       the conditions, and judged pairs that suit all of them
    folder     what is computed, on disk: one file for each block of pairs under each condition
    compute    the rounds of work, which can be stopped and resumed
    part       one ranker's scores: its complete blocks, joined in memory
    scores     those on disk, without texts; all that follows is made from them
    heads      heads.csv: every head under every condition
    estimates  estimates.csv: everything else that the report says, with intervals
    results    the two tables, and what follows from them
    tables     tables in Markdown, and figures
    claims     what the sentences of the report claim, each a test of the results
    publish    the report: the text in text/, written by hand, with its claims checked

``python -m study`` (or ``make study``) computes, and writes scores, tables and figures, of any
rankers and collections. ``python -m study.publish docs/study`` (or ``make study-report``) makes the
tables, figures and report on our own results from their scores.
"""
