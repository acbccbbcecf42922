"""Compare scores with the publisher's library, for every family and form of checkpoint.

    python tools/publisher_table.py

writes ``docs/publishers_scores.md``. Checkpoints are tiny and random, their weights ten times as
large as usual, so that whatever is wrong moves a score by far more than rounding does. The
publisher's library is sentence-transformers, and transformers for a checkpoint without its files.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import nn
from transformers import AutoModel

from mechir_edu import Cat, Dot
from mechir_edu.rankers.pooling import POOLING
from mechir_edu.rankers.readout import read_embedding_head

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from small_models import FAMILIES as SMALL  # noqa: E402
from small_models import build_model, save  # noqa: E402

PAGE = ROOT / "docs" / "publishers_scores.md"
FAMILIES = ("bert", "distilbert", "electra", "roberta", "xlm-roberta", "mpnet", "modernbert")
BOUND = 1e-5
QUERY = "coral reefs"
TEXTS = [
    "A coral reef is built by small animals in warm water.",
    "The sea.",
    "Unbelievable: REEF fish, anchovy and café, 3.5 of 1,000. " * 2,
]
NOW, BEFORE = "sentence-transformers 6", "sentence-transformers 2, pytorch_model.bin"
PLAIN, SHARDS, HALF = "plain, safetensors", "plain, two shards", "plain, half precision"
PLAIN_FORMS = (PLAIN, SHARDS, HALF)
BIN, TWO = "plain, pytorch_model.bin", "plain, two labels"
BARE, CLASSIFIER = "bare", "classifier"


HEAD = """# How scores compare with the publisher's library

`python tools/publisher_table.py` writes this page; `tests/test_publisher_table.py` repeats it. Each
line is a tiny random checkpoint, saved in one form and scored by `Dot` (bare) or `Cat` (classifier)
and by the publisher's library: sentence-transformers, or transformers alone for a bare checkpoint
without that library's files. The last column is the largest difference of a score, in units of the
largest score where that is above 1.

Two differences are meant. A query is never cut, where sentence-transformers cuts the longer of
query and document: with a query of more than half the limit, scores part. And a score is made of
logits, where `CrossEncoder.predict` applies an activation, which keeps their order; of two labels
it is the relevant logit minus the other.

Settings that sentence-transformers stores are obeyed or refused by name: the tables in
`mechir_edu/rankers/checkpoint/settings.py` list every key.

| family | checkpoint | pooling | form | largest difference |
|---|---|---|---|---|
"""


class Row(NamedTuple):
    """A line of the table."""

    family: str
    kind: str
    pooling: str
    form: str


def rows() -> list[Row]:
    """Every line of the table, in order."""
    lines = []
    for family in FAMILIES:
        lines += [Row(family, BARE, pooling, NOW) for pooling in sorted(POOLING)]
        lines += [Row(family, BARE, "mean", BEFORE)]
        lines += [Row(family, BARE, "cls", form) for form in PLAIN_FORMS]
        lines += [Row(family, CLASSIFIER, "", form) for form in (*PLAIN_FORMS, BIN, TWO, NOW)]
    return lines


def compare(family: str, kind: str, form: str, folder: Path) -> Iterator[tuple[Row, float]]:
    """Largest difference of scores from the publisher's, for each pooling of a form."""
    if kind == CLASSIFIER:
        yield Row(family, kind, "", form), _compare_classifier(family, form, folder)
    elif form == NOW:
        yield from _compare_poolings(family, folder)
    elif form == BEFORE:
        saved = _save_before(family, folder)
        ranker = Dot(str(saved), verify=False)
        published = SentenceTransformer(str(saved), device="cpu")
        yield Row(family, kind, "mean", form), _difference(ranker, _similarity(published))
    else:
        saved = _save(family, "Model", form, folder)
        difference = _difference(Dot(str(saved), verify=False), _plain_scores(saved))
        yield Row(family, kind, "cls", form), difference


def _difference(ranker: Dot | Cat, published: np.ndarray) -> float:
    return float(
        np.abs(ranker.score(QUERY, TEXTS) - published).max() / max(1, abs(published).max())
    )


def _save(family: str, suffix: str, form: str, folder: Path, **settings: int) -> Path:
    model = build_model(family, suffix, **settings)
    model = model.half() if form == HALF else model
    saved = save(model, SMALL[family][2](), folder / "plain")
    if form == SHARDS:
        size = sum(p.numel() * 4 for p in model.parameters())
        (saved / "model.safetensors").unlink()
        model.save_pretrained(saved, max_shard_size=f"{size * 2 // 3 // 1000}KB")
    if form in (BIN, BEFORE):
        (saved / "model.safetensors").unlink()
        torch.save(model.state_dict(), saved / "pytorch_model.bin")
    return saved


def _save_now(family: str, folder: Path) -> SentenceTransformer:
    transformer = Transformer(str(_save(family, "Model", PLAIN, folder)))
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), "mean")]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save(str(folder / "saved"), create_model_card=False)
    return model


def _save_before(family: str, folder: Path) -> Path:
    saved = _save(family, "Model", BEFORE, folder)
    flags = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False}
    flags |= {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (path, name) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling")])
    ]
    (saved / "1_Pooling").mkdir()
    for file, content in {
        "1_Pooling/config.json": flags,
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 20, "do_lower_case": True},
    }.items():
        (saved / file).write_text(json.dumps(content))
    return saved


def _compare_poolings(family: str, folder: Path) -> Iterator[tuple[Row, float]]:
    """One ranker with each pooling in turn, read from the file that says so."""
    published, saved = _save_now(family, folder), folder / "saved"
    ranker = Dot(str(saved), verify=False)
    for pooling in sorted(POOLING):
        published[1] = Pooling(published[0].get_embedding_dimension(), pooling)
        published[1].save(str(saved / "1_Pooling"))
        ranker.head = read_embedding_head(saved)
        yield Row(family, BARE, pooling, NOW), _difference(ranker, _similarity(published))


def _compare_classifier(family: str, form: str, folder: Path) -> float:
    labels = 2 if form == TWO else 1
    saved = _save(family, "ForSequenceClassification", form, folder, num_labels=labels)
    published = CrossEncoder(str(saved), device="cpu", model_kwargs={"dtype": torch.float32})
    if form == NOW:
        published.save_pretrained(str(saved := folder / "saved"), create_model_card=False)
    pairs = [(QUERY, text) for text in TEXTS]
    scores = published.predict(pairs, activation_fn=nn.Identity())
    scores = scores[:, 1] - scores[:, 0] if labels == 2 else scores
    return _difference(Cat(str(saved), verify=False), scores)


def _similarity(model: SentenceTransformer) -> np.ndarray:
    return model.similarity(model.encode_query(QUERY), model.encode_document(TEXTS)).numpy()[0]


@torch.no_grad()
def _plain_scores(folder: Path) -> np.ndarray:
    """[CLS] and the dot product, of transformers alone."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = SMALL[next(f for f in SMALL if f == model.config.model_type)][2]()
    first = [model(**_tokens(tokenizer, text))[0][0, 0] for text in (QUERY, *TEXTS)]
    return (torch.stack(first[1:]) @ first[0]).numpy()


def _tokens(tokenizer: object, text: str) -> dict[str, torch.Tensor]:
    return tokenizer(text, return_tensors="pt", return_token_type_ids=False)


def run(lines: list[Row]) -> dict[Row, float]:
    """Differences of the lines that are asked for."""
    differences: dict[Row, float] = {}
    for family, kind, form in dict.fromkeys((row.family, row.kind, row.form) for row in lines):
        folder = Path(tempfile.mkdtemp())
        differences |= dict(compare(family, kind, form, folder))
        shutil.rmtree(folder)
    return {row: differences[row] for row in lines}


def page(differences: dict[Row, float]) -> str:
    """The page in Markdown."""
    lines = (f"| {' | '.join(row)} | {value:.0e} |\n" for row, value in differences.items())
    return HEAD + "".join(lines)


if __name__ == "__main__":
    compared = run(rows())
    worst = max(compared, key=lambda row: compared[row])
    if not compared[worst] < BOUND:
        sys.exit(f"{worst} differs by {compared[worst]:.2g}, more than {BOUND}")
    PAGE.write_text(page(compared), encoding="utf-8")
    print(f"{len(compared)} lines, largest difference {compared[worst]:.1g} ({', '.join(worst)})")
