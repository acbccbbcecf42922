"""A map of heads in which a click chooses one.

The map is made of buttons rather than drawn: a picture in a notebook does not tell where it was
clicked on without a package of JavaScript (ipympl, ipyevents), which a class would have to install
in its browser. Buttons come with every version of ipywidgets, grow with the page's text, and say
their head when pointed at. The sliders beside them choose the same by keyboard, so the Tab key
passes the buttons by (in ipywidgets 8; version 7 cannot leave them out).
"""

import ipywidgets
import numpy as np

from mechir_edu.plots.head_pairs import describe_head
from mechir_edu.plots.heatmap import (
    DARK,
    HATCH,
    are_constant,
    colour_of,
    constant_note,
    ink_on,
    limit_of,
    notes_of,
)
from mechir_edu.stats.recovered import Recovery

_STYLE = """<style>
.mechir-grid { overflow-x: auto; }
.mechir-grid button { color: DARK; padding: 0; margin: 0; font-size: 0.8em; line-height: 1;
  min-width: 0; border-radius: 0; overflow: visible; text-overflow: clip; }
.mechir-grid .mechir-head { text-align: center; justify-content: center; }
.mechir-grid .mechir-white button, .mechir-grid button.mechir-white { color: white; }
.mechir-grid .mechir-black button, .mechir-grid button.mechir-black { color: black; }
.mechir-grid .mechir-chosen button, .mechir-grid button.mechir-chosen {
  outline: 3px solid #e69f00; outline-offset: -3px; }
.mechir-grid .mechir-sure button, .mechir-grid button.mechir-sure { font-weight: bold; }
.mechir-grid .mechir-constant button, .mechir-grid button.mechir-constant {
  background-image: repeating-linear-gradient(-45deg, transparent 0 5px, HATCH 5px 6px); }
</style>""".replace("HATCH", HATCH).replace("DARK", DARK)
_NEVER_SCROLL = 12
_LEGEND = (
    "rows: layers, columns: heads; click on one. Recovery, share of the score change: red as the "
    "donor, blue the other way; darkest is ±{limit:.2g}"
)


class HeadGrid:
    """Buttons in the colours of a map of recovery; one chooses a head by setting two sliders.

    Parameters
    ----------
    layer, head : the sliders.

    Attributes
    ----------
    widget : the map with its legend.
    cells : the buttons by (layer, head).
    """

    def __init__(self, layer: ipywidgets.IntSlider, head: ipywidgets.IntSlider) -> None:
        self._layer, self._head = layer, head
        self._shown: Recovery | None = None
        self._chosen: ipywidgets.Button | None = None
        self._rows = ipywidgets.VBox([])
        self._rows.add_class("mechir-grid")
        self._legend = ipywidgets.HTML()
        self.cells: dict[tuple[int, int], ipywidgets.Button] = {}
        self.widget = ipywidgets.VBox([self._rows, self._legend])

    def show(self, recovery: Recovery, layer: int, head: int) -> None:
        """Colour the map, unless it is shown already, and outline the chosen head."""
        if recovery is not self._shown:
            self._paint(recovery)
        if self._chosen is not None:
            self._chosen.remove_class("mechir-chosen")
        self._chosen = self.cells[layer, head]
        self._chosen.add_class("mechir-chosen")

    def _paint(self, recovery: Recovery) -> None:
        n_layers, n_heads = recovery.value.shape
        if len(self.cells) != n_layers * n_heads or (n_layers - 1, n_heads - 1) not in self.cells:
            self._build(n_layers, n_heads)
        limit = limit_of([recovery])
        is_sure = recovery.significant()
        is_constant = are_constant(recovery)
        for (at, button), value in zip(self.cells.items(), recovery.value.ravel(), strict=True):
            _paint(button, float(value), limit, bool(is_sure[at]))
            (button.add_class if is_constant[at] else button.remove_class)("mechir-constant")
            button.tooltip = describe_head(recovery, *at)
        notes = [_LEGEND.format(limit=limit), *notes_of(recovery), *constant_note(recovery)]
        self._legend.value = f'{_STYLE}<div style="max-width: 60em">{"; ".join(notes)}</div>'
        self._shown = recovery

    def _build(self, n_layers: int, n_heads: int) -> None:
        # Twelve heads fit a page of 640 pixels (1280 at 200 %). Where a number would be cut, the
        # map scrolls: all rows together, so they have no scroll bars of their own.
        size = {"height": "26px", "margin": "0"}
        layout = ipywidgets.Layout(width="40px", min_width="38px", flex="0 1 auto", **size)
        self.cells = {at: self._button(at, layout) for at in np.ndindex(n_layers, n_heads)}
        name = {"layout": ipywidgets.Layout(width="48px", flex="0 0 auto", **size)}
        # Layer 0 at the bottom, as in the figures.
        rows = [
            [ipywidgets.Label(f"layer {layer}", **name)]
            + [self.cells[layer, head] for head in range(n_heads)]
            for layer in reversed(range(n_layers))
        ]
        names = [ipywidgets.Label(str(head), layout=layout) for head in range(n_heads)]
        for label in names:
            label.add_class("mechir-head")
        rows.append([ipywidgets.Label("head", **name), *names])
        whole = ipywidgets.Layout(overflow="visible")
        self._rows.children = [ipywidgets.HBox(row, layout=whole) for row in rows]
        if self._rows.has_trait("tabbable"):
            self._rows.tabbable = n_heads > _NEVER_SCROLL  # so that arrow keys can scroll it
        self._chosen = None

    def _button(self, at: tuple[int, int], layout: ipywidgets.Layout) -> ipywidgets.Button:
        button = ipywidgets.Button(layout=layout)
        if button.has_trait("tabbable"):
            button.tabbable = False
        button.on_click(lambda _: self._choose(at))
        return button

    def _choose(self, at: tuple[int, int]) -> None:
        self._layer.value, self._head.value = at


def _paint(button: ipywidgets.Button, value: float, limit: float, is_sure: bool) -> None:
    # Adding zero turns -0.00 into 0.00.
    text = f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
    button.description = f"{text}•" if is_sure else text
    button.style.button_color = colour_of(value, limit)
    ink = ink_on(button.style.button_color)
    for name, is_on in (("white", ink == "white"), ("black", ink == "black"), ("sure", is_sure)):
        (button.add_class if is_on else button.remove_class)(f"mechir-{name}")
