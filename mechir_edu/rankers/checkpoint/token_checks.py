"""Check, when a ranker is loaded, that its model can read all that its tokenizer writes."""

from itertools import islice

from torch import nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechir_edu.rankers.adapters import family_of


def check_tokens(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    hf_model: nn.Module,
    *,
    pair: bool,
    reads_first_position_only: bool,
) -> None:
    """Check that the model can read everything that its tokenizer writes.

    Parameters
    ----------
    name : of the ranker, for the message.
    tokenizer, hf_model : that are to go together.
    pair : whether query and document stand in one sequence.
    reads_first_position_only : whether the score depends on the first position alone.

    Raises
    ------
    ValueError
        For a token without an embedding, a token type without one, token types that may or may not
        be read, a tokenizer that cannot pad, or a score that reads a first position that sees no
        other, or where the tokenizer writes no special token.
    """
    rows = hf_model.get_input_embeddings().num_embeddings
    beyond = {token: i for token, i in tokenizer.get_vocab().items() if i >= rows}
    if beyond:
        shown = ", ".join(f"{token!r} ({i})" for token, i in islice(beyond.items(), 5))
        raise ValueError(
            f"{name}: the tokenizer has {len(beyond)} tokens beyond the {rows} embeddings of the "
            f"model: {shown}; needed the tokenizer that the model was trained with, or a model "
            "resized for it"
        )
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"{name}: the tokenizer has no padding token, which texts of different lengths need; "
            "name it as pad_token in tokenizer_config.json"
        )
    if pair and family_of(hf_model).is_causal(hf_model.config):
        if hf_model.config.pad_token_id is None:
            raise ValueError(
                f"{name}: config.json has no pad_token_id, by which a classifier of decoders finds "
                "the last token of a text; add the one that the model was trained with"
            )
    read = tokenizer(*["a"] * (1 + pair))
    most = max(read.get("token_type_ids", [0]))
    types = getattr(hf_model.config, "type_vocab_size", 0)
    if family_of(hf_model).has_token_types and most >= types:
        raise ValueError(
            f"{name}: the tokenizer writes token types up to {most}, but the model has embeddings "
            f"of {types}; if it was trained without types, leave token_type_ids out of "
            "model_input_names in tokenizer_config.json"
        )
    unsaid = type(tokenizer) is PreTrainedTokenizerFast and not (
        {"model_input_names", "token_type_ids"} & {*tokenizer.init_kwargs, *read}
    )
    if pair and unsaid and family_of(hf_model).has_token_types and types > 1:
        if max(tokenizer("a", "a", return_token_type_ids=True)["token_type_ids"]):
            raise ValueError(
                f"{name}: nothing says whether the model reads token types; transformers 4 gives "
                "it those of tokenizer.json, transformers 5 none. Add model_input_names to "
                "tokenizer_config.json, with token_type_ids if it was trained with them"
            )
    if reads_first_position_only and family_of(hf_model).is_causal(hf_model.config):
        raise ValueError(
            f"{name}: the score would depend on the first position alone, which sees no other "
            "token in a decoder; pass the pooling that it was trained with, such as "
            "pooling='lasttoken'"
        )
    if reads_first_position_only and read.sequence_ids(0)[:1] != [None]:
        raise ValueError(
            f"{name}: the score depends on the first position alone, and there the tokenizer "
            "writes the text and no special token; needed a tokenizer.json with a post_processor, "
            "or another pooling"
        )
