"""What every panel is: controls, a picture that follows them, the picture in words, and messages.

A panel redraws when a control has come to rest, never while a slider is being moved. Errors are
shown in the panel, above the picture, and the picture is removed, because it would belong to other
settings than the controls show.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets
from IPython.display import clear_output
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mechir_edu.widgets.controls import ALL

_ROW = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "4px 16px"}


@dataclass(frozen=True)
class Drawing:
    """A picture, the same in words for those who cannot see it, and what to do next."""

    figure: Figure
    words: str
    hint: str = ""


class Panel:
    """Controls and the picture that follows them.

    Parameters
    ----------
    name : of the function that made it.
    controls : by name; they are shown, and reached by the Tab key, in this order.
    draw : given the value of every control by name, makes a `Drawing`. It has to be quick; slow
        computations belong in ``work``.
    work : what a button among the controls does, given a function ``tell(done, total)`` and the
        values; the panel redraws afterwards. The button is disabled meanwhile.

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
    ) -> None:
        self.name, self.controls = name, dict(controls)
        self._draw, self._work = draw, work
        self._figure: Figure | None = None
        self._shown: dict[str, Any] | None = None
        self._output = ipywidgets.Output()
        self._words, self._message = ipywidgets.HTML(), ipywidgets.HTML()
        row = ipywidgets.Box(list(self.controls.values()), layout=ipywidgets.Layout(**_ROW))
        parts = [row, self._message, self._output, self._words]
        self.widget = ipywidgets.VBox(parts)
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
        """The message above the picture: an error, progress, a hint, or nothing."""
        return self._message.value

    @property
    def words(self) -> str:
        """The picture in words, as shown below it."""
        return self._words.value

    def figure(self) -> Figure:
        """Give the picture that was drawn last.

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

    def _press(self, button: ipywidgets.Button) -> None:
        button.disabled = True
        try:
            with self._says_what_went_wrong():
                self._work(self.tell, **self.values)
                self._shown = None
                self.redraw()
        finally:
            button.disabled = False

    def _show(self, drawing: Drawing) -> None:
        self._figure = drawing.figure
        with self._output:
            clear_output(wait=True)
            plt.show()
        plt.close(drawing.figure)
        self._words.value = (
            f'<div style="max-width: 60em; line-height: 1.4">{escape(drawing.words)}</div>'
        )
        self._say(drawing.hint)

    @contextmanager
    def _says_what_went_wrong(self) -> Iterator[None]:
        others = plt.get_fignums()
        try:
            yield
        except Exception as error:
            text = f"<b>{type(error).__name__}:</b> {escape(str(error))}"
            self._message.value = f'<div role="alert" style="color: #b2182b">{text}</div>'
            self._words.value, self._shown = "", None
            for half_drawn in set(plt.get_fignums()) - set(others):
                plt.close(half_drawn)
            with self._output:
                clear_output()
