"""Each notebook loads each ranker once: loading takes seconds and a hundred megabytes."""

import ast
import builtins
from collections import Counter
from pathlib import Path

import jupytext
import pytest

SOURCES = sorted((Path(__file__).resolve().parents[1] / "tutorials" / "src").glob("*.py"))
CLASSES = ("Dot", "Cat", "Sparse", "MultiVector", "MonoT5")
ALLOWED = {f"me.{name}" for name in (*CLASSES, "guess_kind")} | {"of_kind.__name__"}


class Recorder:
    """Stands for the package: notes what is loaded, and loads nothing."""

    def __init__(self):
        self.loaded = []
        for name in CLASSES:
            setattr(self, name, type(name, (), {"__init__": self._noting(name)}))

    def _noting(self, name):
        return lambda ranker, checkpoint, **options: self.loaded.append((name, checkpoint))

    def guess_kind(self, checkpoint):
        return "dot"


def loads(tree):
    """Whether something stands in it that could load a ranker."""
    return any(isinstance(node, ast.Attribute) and node.attr in CLASSES for node in ast.walk(tree))


def can_run(statement, known):
    """Whether it is an assignment that needs nothing but the classes of rankers and known names."""
    nodes = list(ast.walk(statement))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    called = {node.func.id for node in nodes if isinstance(getattr(node, "func", None), ast.Name)}
    return (
        isinstance(statement, (ast.Assign, ast.AugAssign))
        and all(ast.unparse(node) in ALLOWED for node in attributes)
        and {node.id for node in names} <= known.keys() | stored | set(dir(builtins))
        and all(callable(known[name]) for name in called & known.keys())
    )


def loaded_by(source):
    """Rankers that a notebook loads: of its statements those are run that a `Recorder` can run."""
    me = Recorder()
    known = {"me": me}
    cells = jupytext.reads(source, "py:percent").cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    lines = [line for line in "\n".join(code).splitlines() if not line.startswith(("%", "!"))]
    for statement in ast.parse("\n".join(lines)).body:
        if can_run(statement, known):
            exec(compile(ast.Module([statement], []), "cell", "exec"), known)
        elif loads(statement) and not isinstance(statement, ast.Try):
            raise ValueError(f"more than one ranker may be loaded here: {ast.unparse(statement)}")
    return me.loaded


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_loads_each_ranker_once(source):
    loaded = loaded_by(source.read_text(encoding="utf-8"))
    assert loaded
    assert [ranker for ranker, times in Counter(loaded).items() if times > 1] == []


def test_a_second_load_would_be_seen():
    source = "# %%\nimport mechir_edu as me\nname = 'embedded'\ndot = me.Dot(name)\n"
    assert (
        loaded_by(source + "# %%\nkinds = {'Dot': me.Dot('embedded')}") == [("Dot", "embedded")] * 2
    )
    with pytest.raises(ValueError, match="may be loaded here: for"):
        loaded_by(source + "for i in range(2):\n    me.Cat(name)")
