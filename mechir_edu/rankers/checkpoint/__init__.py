"""What a checkpoint's files say, obeyed or refused by name; and its model and tokenizer.

::

    stored         small files read, and values that are taken
    stated_config  config.json
    settings       what sentence-transformers stores
    saved_by       what a model is by the class that saved it
    which_kind     which kind of ranker a checkpoint is, and who reads it
    late_settings  what is stored of multi-vector rankers, by three libraries
    labels         which label of a classifier means relevant
    weights        whether every weight is used
    token_checks   whether the model can read what the tokenizer writes
    lengths        the longest sequence
    tokenizer      the tokenizer that the publisher's file describes
    loading        a folder or hub id, and the encoder or classifier in it
    cross_loading  a cross-encoder's parts together
"""
