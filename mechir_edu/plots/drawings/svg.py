"""Pieces of SVG, the colours of a light and a dark page, and a drawing with its text.

Lengths are in pixels of a drawing that is as wide as it says; on a page it shrinks with the column.
``y`` grows downwards. A colour has a fill, a line and a text colour, which suit each other.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Number = float | int

# Name -> fill, line, text. Text has a contrast of 4.5 to its fill at least, a line 3 to the paper.
LIGHT = {
    "paper": ("#ffffff", "#8b949e", "#1f2328"),
    "grey": ("#eef1f4", "#6e7781", "#1f2328"),
    "blue": ("#ddebf7", "#2166ac", "#17466f"),
    "gold": ("#f7edd5", "#8a6d1f", "#5c4813"),
    "red": ("#fde0dd", "#b2182b", "#8e1322"),
    "green": ("#dcefe0", "#2f7d4f", "#1d5433"),
}
DARK = {
    "paper": ("#1f2328", "#8b949e", "#e6e9ec"),
    "grey": ("#30363d", "#9aa4ae", "#e6e9ec"),
    "blue": ("#17324d", "#6cb0f0", "#cfe6ff"),
    "gold": ("#3d3319", "#d9b95b", "#f5e3b0"),
    "red": ("#4f1a21", "#ff8a92", "#ffd6d9"),
    "green": ("#173a26", "#6fc48f", "#c9efd6"),
}
SANS = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
MONO_ADVANCE = 0.61  # width of a character in font sizes, rounded up

# The page around a picture tells it which colours to take: JupyterLab says its theme in an
# attribute, any other page follows the reader's system.
_PAGE = """\
<style>
.me-drawing { margin: 0.5em 0; max-width: %dpx; }
.me-drawing img { width: 100%%; height: auto; color-scheme: light dark; border-radius: 6px; }
[data-jp-theme-light="true"] .me-drawing img { color-scheme: only light; }
[data-jp-theme-light="false"] .me-drawing img { color-scheme: only dark; }
</style>"""


@dataclass(frozen=True)
class Drawing:
    """A drawing; a notebook shows it where it is a cell's last value.

    Attributes
    ----------
    svg : the whole SVG document.
    alt : what is drawn, in words.
    width, height : in pixels.
    """

    svg: str
    alt: str
    width: int
    height: int

    def __repr__(self) -> str:
        return self.alt

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div class="me-drawing">{_PAGE % self.width}{self.image()}</div>'

    def image(self) -> str:
        """The drawing as an HTML image: pages that strip foreign SVG still show it."""
        data = base64.b64encode(self.svg.encode()).decode()
        return f'<img alt="{escape(self.alt)}" src="data:image/svg+xml;base64,{data}"/>'


@dataclass(frozen=True)
class Steps:
    """Drawings of one size, shown one after another by a button or the arrow keys.

    Without JavaScript the numbered buttons work still; where a page strips styles, too, all
    drawings stand below each other.

    Attributes
    ----------
    drawings : in order.
    labels : a few words for each.
    moves : step -> (x, y, x, y), where a patch moves from and to, in pixels; steps count from 1.
    """

    drawings: tuple[Drawing, ...]
    labels: tuple[str, ...]
    moves: dict[int, tuple[Number, Number, Number, Number]]

    def __post_init__(self) -> None:
        if len(self.drawings) != len(self.labels) or not self.drawings:
            raise ValueError(
                f"needed a label for each of at least one drawing, got {len(self.drawings)} "
                f"drawings and {len(self.labels)} labels"
            )

    @property
    def alt(self) -> str:
        """All steps, in words."""
        pairs = zip(self.labels, self.drawings, strict=True)
        return "\n".join(
            f"Step {i}, {label}: {drawing.alt}" for i, (label, drawing) in enumerate(pairs, 1)
        )

    def __repr__(self) -> str:
        return self.alt

    def _repr_html_(self) -> str:
        text = "".join(drawing.svg for drawing in self.drawings)
        name = "me-" + hashlib.sha256(text.encode()).hexdigest()[:10]
        buttons, frames = [], []
        for i, (drawing, label) in enumerate(zip(self.drawings, self.labels, strict=True), 1):
            on = " checked" if i == 1 else ""
            buttons.append(
                f'<label><input type="radio" name="step" value="{i}"{on}/> {i}. {escape(label)}'
                "</label>"
            )
            frames.append(
                f'<div class="frame" data-step="{i}">{drawing.image()}{self._moving(i)}</div>'
            )
        shown = ",\n".join(
            f'.{name}:has(input[value="{i}"]:checked) .frame[data-step="{i}"]'
            for i in range(1, len(frames) + 1)
        )
        style = _STEPS.replace("NAME", name) + f"<style>{shown} {{ display: block; }}</style>"
        # Radio buttons of one form belong together; JupyterLab leaves their keys to them.
        return (
            f'<div class="me-drawing {name}" data-lm-suppress-shortcuts="true">'
            f"{_PAGE % self.drawings[0].width}{style}<form><fieldset><legend>Step</legend>"
            f'<button type="button" onclick="{_NEXT}">Next step</button> {"".join(buttons)}'
            f"</fieldset></form>{''.join(frames)}</div>"
        )

    def _moving(self, step: int) -> str:
        if step not in self.moves:
            return ""
        size, (x, y, to_x, to_y) = self.drawings[step - 1], self.moves[step]
        places = {"x": x / size.width, "y": y / size.height}
        places |= {"to-x": to_x / size.width, "to-y": to_y / size.height}
        style = "; ".join(f"--{at}: {100 * share:.2f}%" for at, share in places.items())
        return f'<i class="move" style="{style}"></i>'


_NEXT = "const s=[...this.form.elements.step];s[(s.findIndex(r=>r.checked)+1)%s.length].click()"
_STEPS = """\
<style>
.NAME { position: relative; }
.NAME fieldset { border: 0; margin: 0 0 0.4em; padding: 0; }
.NAME legend { position: absolute; left: -9999px; }
.NAME label { margin-right: 1em; white-space: nowrap; }
.NAME button { margin-right: 1em; padding: 0.3em 0.9em; font: inherit; cursor: pointer; }
.NAME .frame { display: none; position: relative; }
.NAME .move { position: absolute; width: 3%; aspect-ratio: 1; transform: translate(-50%, -50%);
  border-radius: 4px; background: #b2182b; opacity: 0; animation: NAME-go 1.6s ease-in-out 0.3s; }
@keyframes NAME-go { 0% { left: var(--x); top: var(--y); opacity: 1; }
  90% { left: var(--to-x); top: var(--to-y); opacity: 1; }
  100% { left: var(--to-x); top: var(--to-y); opacity: 0; } }
@media (prefers-reduced-motion: reduce) { .NAME .move { animation: none; } }
</style>"""


def drawing(width: int, height: int, alt: str, parts: Sequence[str]) -> Drawing:
    """Put pieces into a document with its text and its colours."""
    text = escape(alt)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'class="me-svg" role="img" aria-label="{text}" font-family="{escape(SANS)}">'
    )
    paper = f'<rect class="paper" width="{width}" height="{height}" rx="6" stroke="none"/>'
    body = "\n".join([head, f"<title>{text}</title>", _style(), paper, *parts, "</svg>"])
    return Drawing(body, alt, width, height)


def _style() -> str:
    def values(theme: dict[str, tuple[str, str, str]]) -> str:
        kinds = ("fill", "line", "text")
        return " ".join(
            f"--{name}-{kind}: {value};"
            for name, values in theme.items()
            for kind, value in zip(kinds, values, strict=True)
        )

    rules = [
        f".me-svg {{ {values(LIGHT)} }}",
        f"@media (prefers-color-scheme: dark) {{ .me-svg {{ {values(DARK)} }} }}",
        f'[data-jp-theme-light="true"] .me-svg {{ {values(LIGHT)} }}',
        f'[data-jp-theme-light="false"] .me-svg {{ {values(DARK)} }}',
    ]
    for name in LIGHT:
        rules += [
            f".me-svg .{name} {{ fill: var(--{name}-fill); stroke: var(--{name}-line); }}",
            f".me-svg .{name}-line {{ fill: none; stroke: var(--{name}-line); }}",
            f".me-svg .{name}-tip {{ fill: var(--{name}-line); }}",
            f".me-svg .{name}-text {{ fill: var(--{name}-text); }}",
        ]
    return "<style>" + "\n".join(rules) + "</style>"


def rectangle(
    x: Number, y: Number, width: Number, height: Number, colour: str, *, line: Number = 1.2
) -> str:
    """Draw a box; x and y are its upper left corner."""
    return (
        f'<rect class="{colour}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="4" stroke-width="{line}"/>'
    )


def text(
    x: Number,
    y: Number,
    words: str,
    *,
    colour: str = "paper",
    size: Number = 14,
    anchor: str = "middle",
    mono: bool = False,
    bold: bool = False,
) -> str:
    """Write a line; x is its middle, start or end, y its middle."""
    font = f' font-family="{escape(MONO)}"' if mono else ""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text class="{colour}-text" x="{x:.1f}" y="{y:.1f}" dy="0.35em" font-size="{size}" '
        f'text-anchor="{anchor}"{font}{weight}>{escape(words)}</text>'
    )


def box(
    middle: tuple[Number, Number],
    extent: tuple[Number, Number],
    words: str,
    colour: str = "grey",
    *,
    size: Number = 14,
    mono: bool = False,
) -> str:
    """Draw a box around its middle, with words in it."""
    (x, y), (width, height) = middle, extent
    frame = rectangle(x - width / 2, y - height / 2, width, height, colour)
    return frame + text(x, y, words, colour=colour, size=size, mono=mono)


def line(
    *points: tuple[Number, Number], colour: str = "paper", width: Number = 1.5, dashes: str = ""
) -> str:
    """Draw a line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<polyline class="{colour}-line" points="{path}" stroke-width="{width}"{dashed} '
        'stroke-linejoin="round"/>'
    )


def arrow(*points: tuple[Number, Number], colour: str = "paper", width: Number = 1.5) -> str:
    """Draw a line through points that ends in a tip."""
    (x, y), (end_x, end_y) = points[-2:]
    length = ((end_x - x) ** 2 + (end_y - y) ** 2) ** 0.5
    dx, dy = (end_x - x) / length, (end_y - y) / length
    size = 4 + 2 * width
    base = (end_x - size * dx, end_y - size * dy)
    corners = [
        (end_x, end_y),
        (base[0] - 0.5 * size * dy, base[1] + 0.5 * size * dx),
        (base[0] + 0.5 * size * dy, base[1] - 0.5 * size * dx),
    ]
    tip = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    shaft = line(*points[:-1], base, colour=colour, width=width)
    return f'{shaft}<polygon class="{colour}-tip" points="{tip}"/>'


def signed(value: Number, digits: int = 3) -> str:
    """Write a number with its sign, a minus as long as a plus."""
    return f"{value:+.{digits}f}".replace("-", "−")
