"""Queries, passages and judgments: what a study draws its pairs from.

In reading order::

    progress      how far a long computation is
    judged        a judged pair, and what was left out and why     Judged, Skipped, Sample
    terms         words reduced to terms; how rare each one is     surface_terms, TermStatistics
    formats       your own files: TSV, JSON lines, TREC qrels
    mini          the embedded collection, also for ir_datasets    register
    sources       what an id or a set of files supplies
    collection    all of it together, and samples of it            load_collection, Collection
"""
