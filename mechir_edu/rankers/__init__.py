"""Hugging Face rankers with hooks: how texts go in, what can be read and edited, what comes out.

::

    adapters      where an architecture's modules are (families: the encoders; decoders;
                  encoder_decoders; components)
    stacks        how many layers and heads, and the names of their hooks
    base          what every kind shares: a model with hooks
    texts         texts as they are given, and encoded; pooling, readout: what becomes of the output
    apart         what the kinds share that encode query and document separately; joint: together
    bi_encoder    Dot; cross_encoder: Cat; sparse: Sparse; multi_vector: MultiVector
    mono_t5       MonoT5
    modular       heads of cross-encoders that are saved as modules
    kinds         all of them by their names
    verification  what is tested at load: causality, streams (agreement: within what is rounding)
    turns         one call at a time; unchanged: what was done to the modules since; views: a
                  ranker under an intervention
    checkpoint/   files of a checkpoint, obeyed or refused by name
    embedded      the weights that travel with the package; planted: the constructed ranker
"""
