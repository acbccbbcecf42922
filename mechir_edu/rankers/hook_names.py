"""Where an activation can be read or replaced, by the names of TransformerLens.

The sites are drawn in `mechir_edu.rankers.adapters`.
"""

from collections.abc import Iterable

Head = tuple[int, int]  # (layer, head)

BLOCK_SITES = ("resid_pre", "attn_out", "mlp_out")
HEAD_SITES = ("head", "pattern", "q", "k", "v")
HOOK_POINTS = {
    "resid_pre": "hook_resid_pre",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "head": "attn.hook_z",
    "pattern": "attn.hook_pattern",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
}


def require_layer(layer: int, n_layers: int) -> None:
    """Refuse a layer that a ranker does not have.

    Raises
    ------
    ValueError
        Saying which layers there are.
    """
    if not 0 <= layer < n_layers:
        raise ValueError(f"no layer {layer}: layers are 0-{n_layers - 1}")


def require_heads(heads: Iterable[Head], n_layers: int, n_heads: int) -> None:
    """Refuse a head that a ranker does not have.

    Raises
    ------
    ValueError
        Naming the first such head, and saying which layers and heads there are.
    """
    for layer, head in heads:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise ValueError(
                f"no head (layer {layer}, head {head}): layers are 0-{n_layers - 1}, "
                f"heads 0-{n_heads - 1}"
            )
