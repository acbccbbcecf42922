"""Two versions of a document as equally long token sequences, position by position.

In reading order::

    aligned        what alignment gives: ids, masks, roles            AlignedPairs, Role
    encoding       word pieces, and the special tokens around them
    tokendiff      where two token sequences agree and where not
    prompts        what a ranker reads around query and document
    fillers        what fills the gap on the shorter side
    shorten        texts that are too long
    made_for       what an alignment was made for
    occurrences    where else a text holds the edited term
    read_roles     roles read off token ids, where no pair says them
    aligner        all of it together                                 align
"""
