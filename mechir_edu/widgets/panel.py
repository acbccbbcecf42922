"""What every panel is: controls, pictures that follow them, the same in words, and messages.

A panel redraws when a control has come to rest, never while a slider is being moved. Errors are
shown in the panel, above the pictures, and the pictures are removed, because they would belong to
other settings than the controls show.

Pictures are ``<img>`` elements in an HTML widget. An `ipywidgets.Image` has no place for an alt
text, in version 7 nor in 8. An Output widget has one neither, and it makes a notebook's client
write to the kernel while it waits for the kernel's reply, which now and then is then overlooked:
the cell never ends (nbclient issue 312).
"""

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mechir_edu.widgets.controls import ALL

_ROW = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "4px 16px"}
# A colour pair of its own, so that it can be read on a light and on a dark page.
_ERROR = "background: #fde0dd; color: #7f0000; padding: 4px 8px; border-radius: 3px"
_SMALLEST = 0.5  # of its size; on a page too narrow even for that a picture scrolls
_DOTS = 2  # dots of a picture for each pixel of the page: sharp when the page is enlarged


@dataclass(frozen=True)
class Drawing:
    """Pictures, the same in words for those who cannot see them, and what to do next.

    Attributes
    ----------
    figures : one figure or several; several stand side by side where the page is wide enough, else
        below each other.
    words : what they show.
    hint : what to do next, shown above.
    note : shown below the controls, such as what the chosen edit does.
    """

    figures: Figure | Sequence[Figure]
    words: str
    hint: str = ""
    note: str = ""

    @property
    def all(self) -> list[Figure]:
        """The figures as a list."""
        return [self.figures] if isinstance(self.figures, Figure) else list(self.figures)


class Panel:
    """Controls and the pictures that follow them.

    Parameters
    ----------
    name : of the function that made it.
    controls : by name; they are shown, and reached by the Tab key, in this order.
    draw : given the value of every control by name, makes a `Drawing`. It has to be quick; slow
        computations belong in ``work``.
    work : what a button among the controls does, given a function ``tell(done, total)`` and the
        values; the panel redraws afterwards. The button is disabled meanwhile. Without it, a button
        just redraws.
    below : a widget between the controls and the pictures.

    Attributes
    ----------
    controls : the ipywidgets controls by name. Setting a control's ``value`` does what moving it
        does.
    widget : the whole panel as one ipywidget.
    """

    def __init__(
        self,
        name: str,
        controls: Mapping[str, ipywidgets.Widget],
        draw: Callable[..., Drawing],
        *,
        work: Callable[..., None] | None = None,
        below: ipywidgets.Widget | None = None,
    ) -> None:
        self.name, self.controls = name, dict(controls)
        self._draw, self._work = draw, work
        self._figure: Figure | None = None
        self._shown: dict[str, Any] | None = None
        self._note, self._message = ipywidgets.HTML(), ipywidgets.HTML()
        self._pictures, self._words = ipywidgets.HTML(), ipywidgets.HTML()
        row = ipywidgets.Box(list(self.controls.values()), layout=ipywidgets.Layout(**_ROW))
        parts = [row, self._note, self._message, below, self._pictures, self._words]
        self.widget = ipywidgets.VBox([part for part in parts if part is not None])
        self.widget.add_class("mechir-edu-panel")
        self.redraw()
        self._listen()

    def __repr__(self) -> str:
        return (
            f"A panel of {self.name} with the controls {', '.join(self.controls)}; run this cell "
            "in a notebook to use it."
        )

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        # Written here rather than left to the widget: ipywidgets 7 and 8 have different methods
        # for it, and a reader of the notebook's file should find a sentence in the panel's place.
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        return {"text/plain": repr(self), "application/vnd.jupyter.widget-view+json": view}

    @property
    def values(self) -> dict[str, Any]:
        """Value of each control that has one; None where all is chosen."""
        values = {name: c.value for name, c in self.controls.items() if c.has_trait("value")}
        return {name: None if value is ALL[1] else value for name, value in values.items()}

    @property
    def message(self) -> str:
        """The message above the pictures: an error, progress, a hint, or nothing."""
        return self._message.value

    @property
    def words(self) -> str:
        """The pictures in words, as shown below them."""
        return self._words.value

    @property
    def pictures(self) -> str:
        """The pictures as HTML, each with its alt text."""
        return self._pictures.value

    @property
    def note(self) -> str:
        """What stands below the controls."""
        return self._note.value

    def figure(self) -> Figure:
        """Give the picture that was drawn last; of several, the first.

        Raises
        ------
        RuntimeError
            If nothing was drawn yet; the message says why.
        """
        if self._figure is None:
            raise RuntimeError(f"{self.name} has drawn nothing yet: {self.message}")
        return self._figure

    def redraw(self) -> None:
        """Draw what the controls ask for, unless it is shown already."""
        values = self.values
        if values != self._shown:
            with self._says_what_went_wrong():
                self._show(self._draw(**values))
                self._shown = values

    def tell(self, done: int, total: int, unit: str = "pairs") -> None:
        """Show how far the work is."""
        bar = f'<progress value="{done}" max="{total}"></progress>'
        self._message.value = f'<div role="status">{bar} {done} of {total} {unit}</div>'

    def _say(self, text: str) -> None:
        self._message.value = f'<div role="status">{escape(text)}</div>' if text else ""

    def _listen(self) -> None:
        for name, control in self.controls.items():
            control.add_class(f"mechir-edu-{name}")
            if isinstance(control, ipywidgets.Button):
                control.on_click(self._press)
            else:
                control.observe(lambda change: self.redraw(), names="value")
            if isinstance(control, ipywidgets.Dropdown):
                _hide_where_there_is_no_choice(control)
                control.observe(
                    lambda change: _hide_where_there_is_no_choice(change["owner"]),
                    names="_options_labels",
                )

    def _press(self, button: ipywidgets.Button) -> None:
        if self._work is None:
            self.redraw()
            return
        button.disabled = True
        try:
            with self._says_what_went_wrong():
                self._work(self.tell, **self.values)
                self._shown = None
                self.redraw()
        finally:
            button.disabled = False

    def _show(self, drawing: Drawing) -> None:
        figures = drawing.all
        self._figure = figures[0]
        images = "".join(_image(figure, drawing.words) for figure in figures)
        # As wide as the panel, whatever the pictures are: else they would widen it, and be cut.
        style = "display: flex; flex-wrap: wrap; overflow-x: auto; width: 0; min-width: 100%"
        self._pictures.value = f'<div style="{style}">{images}</div>'
        for figure in figures:
            plt.close(figure)
        # Hidden from screen readers, which have read it as the picture's alt text already.
        self._words.value = (
            '<div aria-hidden="true" style="max-width: 60em; line-height: 1.4">'
            f"{escape(drawing.words)}</div>"
        )
        self._note.value = f'<div style="max-width: 60em">{escape(drawing.note)}</div>'
        self._say(drawing.hint)

    @contextmanager
    def _says_what_went_wrong(self) -> Iterator[None]:
        others = plt.get_fignums()
        try:
            yield
        except Exception as error:
            # Our own refusals are sentences; of anything else the kind of error helps to report it.
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            text = escape(f"{kind}{error}")
            self._message.value = f'<div role="alert" style="{_ERROR}">{text}</div>'
            self._words.value, self._pictures.value, self._shown = "", "", None
            for half_drawn in set(plt.get_fignums()) - set(others):
                plt.close(half_drawn)


def _hide_where_there_is_no_choice(control: ipywidgets.Dropdown) -> None:
    control.layout.display = "none" if len(control.options) < 2 else None


def _image(figure: Figure, words: str) -> str:
    """Write a figure as an ``<img>`` that fits the page, down to where it could not be read."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DOTS * figure.dpi, facecolor="white")
    width = figure.get_figwidth() * figure.dpi
    data = base64.b64encode(file.getvalue()).decode()
    style = f"width: {width:.0f}px; max-width: 100%; min-width: {_SMALLEST * width:.0f}px"
    style += "; height: auto; margin: 0; flex: 0 1 auto; align-self: flex-start"
    return f'<img alt="{escape(words)}" style="{style}" src="data:image/png;base64,{data}">'
