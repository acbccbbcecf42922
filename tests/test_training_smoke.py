"""The pieces of the cross-encoder's recipe fit together; what each does is tested slowly."""

import gzip

import pytest
import torch
import train_cross_encoder as training

from mechir_edu.rankers import embedded

SMALLEST = ["--pseudo", "2", "--held-out", "1", "--eval-every", "1", "--steps", "1"]
SMALLEST += ["--list-size", "2", "--rank", "1", "--device", "cpu"]
SMALLEST += ["--polish", "1", "--polish-pairs", "2", "--sample", "4"]


@pytest.fixture
def folder(collection, tmp_path):
    """A training folder of five judged queries."""
    queries = {query_id: collection.queries[query_id] for query_id in list(collection.qrels)[:5]}
    grades = [(q, d, grade) for q in queries for d, grade in collection.qrels[q].items()]
    passages = collection.texts({doc_id for _, doc_id, _ in grades})
    write(tmp_path / "queries.tsv", queries.items())
    write(tmp_path / "extra_queries.tsv", [("x", "why do cats purr")])
    write(tmp_path / "passages.tsv.gz", passages.items())
    heading = ("query_id", "doc_id", "bm25", "splade", "relevance")
    write(tmp_path / "candidates.tsv.gz", [heading, *((q, d, "", "", g) for q, d, g in grades)])
    return tmp_path


def write(path, rows):
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.long
def test_training_starts_steps_and_writes_an_adapter_that_loads(threads, folder, tmp_path):
    training.main([*SMALLEST, "--data", str(folder), "--out", str(tmp_path / "out")])
    model, tokenizer = embedded.load(tmp_path / "out" / "last.safetensors", sha256=None)
    inputs = tokenizer("why do reefs bleach", "Warm seas bleach them.", return_tensors="pt")
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()
