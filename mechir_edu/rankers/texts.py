"""Texts as a ranker takes them: listed, cut and encoded, read in the order of their length."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mechir_edu.collection.given import checked_number, checked_texts
from mechir_edu.rankers.base import Inputs


def listed(texts: str | Sequence[str], place: str = "texts") -> list[str]:
    """Texts as a list, also where only one was given.

    Raises
    ------
    TypeError, ValueError
        For whatever is no text, with its place and its type (`mechir_edu.collection.given`).
    """
    return checked_texts(texts, place)


def paired(queries: str | Sequence[str], texts: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """A query for each text; one query may go with all of them.

    Raises
    ------
    TypeError, ValueError
        As `listed`; a ValueError also for another number of queries than of texts.
    """
    texts = listed(texts)
    if isinstance(queries, str):
        return listed(queries, "query") * len(texts), texts
    queries = listed(queries, "queries")
    if len(queries) != len(texts):
        raise ValueError(
            f"needed one query, or one for each of {len(texts)} texts, got {len(queries)} queries"
        )
    return queries, texts


def encode(tokenizer: PreTrainedTokenizerBase, *texts: list[str], max_length: int) -> Inputs:
    """Tokens of texts, or of queries and documents; what is too long is cut, a query never.

    Raises
    ------
    ValueError
        When a query leaves no room for a document.
    """
    options: dict[str, Any] = {"padding": True, "padding_side": "right", "return_tensors": "pt"}
    options |= {"truncation": "only_second" if len(texts) > 1 else True, "max_length": max_length}
    options["return_attention_mask"] = True  # whatever model_input_names says
    try:
        encoded = tokenizer(*texts, **options)
    except Exception as error:  # the tokenizers library raises nothing more exact
        if "too short" not in str(error):
            raise
        raise ValueError(
            f"a query leaves no room for a document within {max_length} tokens; shorten it or "
            "raise max_length"
        ) from error
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    return {name: encoded[name] for name in wanted if name in encoded}


def in_length_order(
    texts: list[str], batch_size: int, run: Callable[[list[str]], Tensor]
) -> Float[Tensor, "text ..."]:
    """Run on texts of similar length together (little padding); results in the order given.

    Raises
    ------
    TypeError, ValueError
        For no text, or for a batch size that is no whole number of at least 1.
    """
    batch_size = checked_number(batch_size, "batch_size", least=1)
    if not texts:
        raise ValueError("needed at least one text to score, got none")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    results = torch.cat([run([texts[i] for i in batch]) for batch in batches])
    return results[torch.tensor(order, device=results.device).argsort()]
