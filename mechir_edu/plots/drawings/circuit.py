"""A circuit beside its complement: two questions about heads that are claimed to be enough."""

from collections.abc import Iterable

from mechir_edu.patching.numbers import plain_heads
from mechir_edu.plots.drawings.svg import Drawing, Number, box, drawing, rectangle, text
from mechir_edu.rankers.hook_names import require_heads

_GRID, _TOP = 230.0, 110.0


def draw_circuit(circuit: Iterable[tuple[int, int]], *, n_layers: int, n_heads: int) -> Drawing:
    """What is patched to ask whether a circuit is enough, and whether the rest is needed.

    On the left the circuit's heads are set to the donor's values, in the recipient's run: is the
    score change restored by them alone? On the right all *other* heads are set to the recipient's
    values, in the donor's run: does the score change survive without the rest?

    Parameters
    ----------
    circuit : (layer, head) of each head that is claimed to carry the behaviour.
    n_layers, n_heads : of the ranker.

    Raises
    ------
    ValueError
        If there is no head, all of them, or one that the ranker has not.
    """
    heads = set(plain_heads(list(circuit)))
    if not 0 < len(heads) < n_layers * n_heads:
        raise ValueError(
            f"needed a circuit of 1 to {n_layers * n_heads - 1} heads, got {len(heads)}; "
            "a complement has to be left over"
        )
    require_heads(sorted(heads), n_layers, n_heads)
    parts = _panel(
        215,
        ("Restored by them alone?", "recipient", "blue", "circuit set to the donor's values"),
        {at: "red" for at in heads},
        (n_layers, n_heads),
    )
    others = {(i, j) for i in range(n_layers) for j in range(n_heads)} - heads
    parts += _panel(
        655,
        ("Survives without the rest?", "donor", "red", "the rest set to the recipient's values"),
        {at: "blue" for at in others},
        (n_layers, n_heads),
    )
    names = ", ".join(f"{layer}.{head}" for layer, head in sorted(heads))
    n_others = n_layers * n_heads - len(heads)
    alt = (
        f"Two maps of {n_layers} layers by {n_heads} heads, layer 0 at the bottom. Left, restored "
        f"by them alone: the recipient's tokens are run, and the circuit's {len(heads)} heads "
        f"({names}) are set to the donor's values; the others compute for themselves. Right, "
        f"survives without the rest: the donor's tokens are run, and the {n_others} heads outside "
        "the circuit are set to the recipient's values; the circuit's compute for themselves."
    )
    return drawing(880, 462, alt, [*parts, *_key()])


def _panel(
    middle: Number,
    words: tuple[str, str, str, str],
    is_set: dict[tuple[int, int], str],
    shape: tuple[int, int],
) -> list[str]:
    title, run, colour, says = words
    (n_layers, n_heads), left = shape, middle - _GRID / 2
    width, height = _GRID / n_heads, _GRID / n_layers
    parts = [text(middle, 28, title, size=16, bold=True), text(middle, 58, says)]
    parts.append(text(left - 10, _TOP - 12, "layer", size=12, anchor="end"))
    for layer in range(n_layers):
        y = _TOP + _GRID - (layer + 0.5) * height
        if layer in (0, n_layers - 1):
            parts.append(text(left - 10, y, str(layer), size=12, anchor="end"))
        for head in range(n_heads):
            at = is_set.get((layer, head))
            x = left + (head + 0.5) * width
            size = (min(0.8 * width, 46), min(0.8 * height, 46))
            frame = (x - size[0] / 2, y - size[1] / 2, *size)
            parts.append(rectangle(*frame, at or "grey", line=3 if at else 1.2))
    return [*parts, box((middle, 370), (_GRID, 30), f"tokens of the {run}", colour)]


def _key() -> list[str]:
    entries = [
        ("red", "set to the donor's"),
        ("blue", "set to the recipient's"),
        ("grey", "computes for itself"),
    ]
    parts, left = [], 150.0
    for colour, words in entries:
        parts.append(rectangle(left, 424, 16, 16, colour, line=1.2 if colour == "grey" else 3))
        parts.append(text(left + 26, 432, words, size=13, anchor="start"))
        left += 210
    return parts
