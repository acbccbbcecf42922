"""What a ranker reads around query and document: put there, and its tokens told from the text's.

Prompts are two texts, before every query and before every document, and perhaps a third, behind
every query.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mechir_edu.alignment.aligned import Role
from mechir_edu.alignment.encoding import Pieces
from mechir_edu.perturb.edits import Edit
from mechir_edu.perturb.pair import Pair


def writes_end(tokenizer: Any) -> bool:
    """Whether what a tokenizer writes behind a text is an end, and not a separator, as BERT's."""
    return tokenizer.sep_token_id is None


def with_prompts(pair: Pair, prompts: tuple[str, ...]) -> Pair:
    """Put the prompts around query and document, and move the edit by its text's prompt."""
    query, document, behind = (*prompts, "")[:3]
    if not any(prompts):
        return pair
    moved_by = len(document) if pair.perturbed_query is None else len(query)
    edit = pair.edit
    if edit is not None:
        spans = (edit.baseline, edit.perturbed)
        edit = Edit(*((start + moved_by, end + moved_by) for start, end in spans))
    changed = pair.perturbed_query
    return replace(
        pair,
        query=query + pair.query + behind,
        baseline=document + pair.baseline,
        perturbed=document + pair.perturbed,
        perturbed_query=None if changed is None else query + changed + behind,
        edit=edit,
    )


def roles_of_query(pieces: Pieces, query: str, prompts: tuple[str, ...]) -> list[int]:
    """Roles of the tokens of a query with its prompts around it."""
    until = len(query) - len("".join(prompts[2:]))
    # Likewise, a token that straddles the query's end is the query's: "?\n" of "reef?\nDocument:".
    roles = [Role.PROMPT if start >= until else Role.QUERY for start, _ in pieces.spans]
    return after_prompt(pieces, prompts[0], roles)


def after_prompt(pieces: Pieces, prompt: str, roles: Sequence[int]) -> list[int]:
    """Roles of a text's tokens, those of its prompt set apart."""
    # A token that straddles the prompt's end is the text's: " coral" of "query: coral".
    is_prompt = [bool(prompt) and end <= len(prompt) for _, end in pieces.spans]
    return [Role.PROMPT if p else role for p, role in zip(is_prompt, roles, strict=True)]
