"""The three runs of activation patching, at once and step by step, with a result's own numbers."""

from mechir_edu.patching.numbers import plain_heads
from mechir_edu.patching.options import DIRECTIONS
from mechir_edu.patching.result import PatchingResult
from mechir_edu.plots.drawings.svg import (
    Drawing,
    Number,
    Steps,
    arrow,
    box,
    drawing,
    line,
    rectangle,
    signed,
    text,
)
from mechir_edu.rankers.hook_names import require_heads

_SIZE = (880, 470)
_MIDDLES, _GRID_WIDTH = (150, 440, 730), 190.0
_TOP, _HEIGHT = 104.0, 190.0
_LABELS = ("Run the recipient", "Run the donor", "Put one activation in", "Compare the scores")


def draw_three_runs(result: PatchingResult, head: tuple[int, int]) -> Drawing:
    """Recipient, donor and patched run side by side, with their scores and the recovery.

    Parameters
    ----------
    result : of one pair and all heads, from ``mechir_edu.patch(ranker, [pair])``.
    head : (layer, head), the patch that is drawn.

    Raises
    ------
    ValueError
        If the result holds several pairs or not every head, if there is no such head, or if both
        versions score the same.
    """
    return _draw(_Runs(result, head), 4)


def step_three_runs(result: PatchingResult, head: tuple[int, int]) -> Steps:
    """The same in four steps, which a button goes through; in the third one the patch moves.

    Parameters and errors are those of `draw_three_runs`.
    """
    runs = _Runs(result, head)
    move = (*runs.place(1), *runs.place(2))
    return Steps(tuple(_draw(runs, step) for step in (1, 2, 3, 4)), _LABELS, {3: move})


class _Runs:
    """What is drawn: scores, the head, and where its cells are."""

    def __init__(self, result: PatchingResult, head: tuple[int, int]) -> None:
        if result.site != "head" or result.scores.ndim != 3 or result.scores.shape[-1] != 1:
            raise ValueError(
                "needed the result of one pair with a score for every head, [layer, head, 1], got "
                f"site {result.site!r} and shape {result.scores.shape}; make it with "
                "mechir_edu.patch(ranker, [pair])"
            )
        self.n_layers, self.n_heads = result.scores.shape[:2]
        ((self.layer, self.head),) = plain_heads([head])
        require_heads([(self.layer, self.head)], self.n_layers, self.n_heads)
        self.recipient, self.donor = float(result.recipient[0]), float(result.donor[0])
        if self.recipient == self.donor:
            raise ValueError(
                "both versions of this pair have the same score, so there is nothing to recover; "
                "choose a pair whose score changes"
            )
        self.patched = float(result.scores[self.layer, self.head, 0])
        names = ("baseline", "perturbed")
        into_baseline = result.direction == DIRECTIONS[0]
        self.versions = names if into_baseline else names[::-1]
        self.width, self.height = _GRID_WIDTH / self.n_heads, _HEIGHT / self.n_layers

    @property
    def recovery(self) -> Number:
        return (self.patched - self.recipient) / (self.donor - self.recipient)

    @property
    def name(self) -> str:
        return f"{self.layer}.{self.head}"

    def place(self, run: int, at: tuple[int, int] | None = None) -> tuple[Number, Number]:
        """Middle of a head's cell in one of the runs: the patched head's, or another's."""
        layer, head = at or (self.layer, self.head)
        left = _MIDDLES[run] - _GRID_WIDTH / 2
        return left + (head + 0.5) * self.width, _TOP + _HEIGHT - (layer + 0.5) * self.height


def _draw(runs: _Runs, step: int) -> Drawing:
    parts = [text(16, 24, f"Head {runs.name}", size=16, bold=True, anchor="start")]
    if step >= 3:  # first, so that the arrow passes behind the heads between
        (x, y), (to_x, to_y) = runs.place(1), runs.place(2)
        reach = _cell(runs.width) / 2
        parts.append(arrow((x + reach, y), (to_x - reach, to_y), colour="red", width=3))
    parts += _run(runs, 0, "1  Recipient run", runs.versions[0], runs.recipient)
    if step >= 2:
        parts += _run(runs, 1, "2  Donor run", runs.versions[1], runs.donor)
    if step >= 3:
        parts += _run(runs, 2, "3  Patched run", runs.versions[0], runs.patched)
    if step >= 4:
        parts += _scale(runs)
    return drawing(*_SIZE, _alt(runs, step), [*parts, *_key(step)])


def _cell(room: Number) -> Number:
    return min(0.82 * room, 40.0)


def _colour(runs: _Runs, run: int, layer: int, head: int) -> str:
    if run < 2:
        return ("blue", "red")[run]
    if (layer, head) == (runs.layer, runs.head):
        return "red"
    return "gold" if layer > runs.layer else "blue"


def _run(runs: _Runs, run: int, title: str, version: str, score: Number) -> list[str]:
    middle, size = _MIDDLES[run], (_cell(runs.width), _cell(runs.height))
    parts = [text(middle, 52, title, bold=True), text(middle, 76, f"score {signed(score)}")]
    for layer in range(runs.n_layers):
        for head in range(runs.n_heads):
            x, y = runs.place(run, (layer, head))
            is_chosen = run > 0 and (layer, head) == (runs.layer, runs.head)
            parts.append(
                rectangle(
                    x - size[0] / 2,
                    y - size[1] / 2,
                    *size,
                    _colour(runs, run, layer, head),
                    line=3.5 if is_chosen else 1.2,
                )
            )
    parts.append(arrow((middle, 326), (middle, 304)))
    colour = "red" if version == runs.versions[1] else "blue"
    parts.append(box((middle, 342), (190, 30), f"tokens: {version}", colour))
    if run == 0:
        left = middle - _GRID_WIDTH / 2 - 10
        for layer in (0, runs.n_layers - 1):
            y = runs.place(0, (layer, 0))[1]
            parts.append(text(left, y, str(layer), size=12, anchor="end"))
        parts.append(text(16, 92, "layer", size=12, anchor="start"))
    return parts


def _scale(runs: _Runs) -> list[str]:
    """Draw the three scores on one line, from the recipient's to the donor's."""
    left, right, y = 330.0, 640.0, 424.0
    share = min(1.25, max(-0.5, runs.recovery))
    at = left + (right - left) * share
    parts = [line((min(left, at), y), (max(right, at), y), width=2)]
    for x, name, colour in ((left, "recipient: 0", "blue"), (right, "donor: 1", "red")):
        parts.append(line((x, y - 8), (x, y + 8), colour=colour, width=3))
        parts.append(text(x, y + 22, name, size=13))
    tip = [(at, y - 3), (at - 7, y - 16), (at + 7, y - 16)]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in tip)
    parts.append(f'<polygon class="gold" points="{points}" stroke-width="1.5"/>')
    effect, change = runs.patched - runs.recipient, runs.donor - runs.recipient
    words = f"recovery {signed(effect)} / {signed(change)} = {runs.recovery:.2f}"
    return [*parts, text(485, y - 30, words.replace("-", "−"), bold=True)]


def _key(step: int) -> list[str]:
    entries = [("blue", "as in the recipient run"), ("red", "as in the donor run")]
    entries = entries[: 1 if step == 1 else 2]
    if step >= 3:
        entries.append(("gold", "computed anew"))
    parts = []
    for i, (colour, words) in enumerate(entries):
        y = 396 + 26 * i
        parts.append(rectangle(16, y - 8, 16, 16, colour))
        parts.append(text(40, y, words, size=13, anchor="start"))
    return parts


def _alt(runs: _Runs, step: int) -> str:
    size = f"{runs.n_layers} layers of {runs.n_heads} heads, layer 0 at the bottom"
    sentences = [
        f"The recipient run reads the {runs.versions[0]} tokens ({size}) and scores "
        f"{signed(runs.recipient)}.",
        f"The donor run reads the {runs.versions[1]} tokens and scores {signed(runs.donor)}.",
        f"The patched run reads the {runs.versions[0]} tokens again; an arrow brings head "
        f"{runs.name} over from the donor run, and what stands in later layers is computed anew. "
        f"Score {signed(runs.patched)}.",
        "A line from the recipient's score, 0, to the donor's, 1: recovery is "
        f"{runs.recovery:.2f}.",
    ]
    return " ".join(sentences[:step])
