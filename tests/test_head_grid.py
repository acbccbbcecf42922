"""The map of heads that takes clicks shows what the figure shows."""

from test_plots import make_recovery

from mechir_edu.widgets.controls import head_sliders
from mechir_edu.widgets.head_grid import HeadGrid


def test_heads_at_which_nothing_changes_are_hatched_counted_and_named():
    grid, whole, cut = HeadGrid(**head_sliders(6, 12)), make_recovery(), make_recovery()
    for array in (cut.value, cut.low, cut.high):
        array[0] = 0
    for recovery, n_hatched in ((cut, 12), (whole, 0)):
        grid.show(recovery, 0, 0)
        hatched = [at for at, cell in grid.cells.items() if "mechir-constant" in cell._dom_classes]
        assert hatched == [(0, head) for head in range(n_hatched)]
        assert grid.cells[0, 3].tooltip.endswith("exactly 0 in every pair") == bool(n_hatched)
        note = "hatched: 12 exactly 0 in every pair"
        assert (note in grid.widget.children[1].value) == bool(n_hatched)
