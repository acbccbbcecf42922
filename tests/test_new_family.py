"""An architecture is one class: the adapter below is all that a new family needs."""

import pytest
import torch
import transformers
from patching_helpers import assert_same, patched
from small_models import DISTIL, draw_weights, save
from small_tokenizers import wordpiece

from mechir_edu import Cat, Dot
from mechir_edu.rankers import adapters, families

QUERY, TEXTS = "coral reef", ["The reef is full of fish.", "Trains run late."]
RANKERS = {"Dot": (Dot, "Model"), "Cat": (Cat, "ForSequenceClassification")}


class ReefConfig(transformers.DistilBertConfig):
    model_type = "reef"


class ReefModel(transformers.DistilBertModel):
    """DistilBERT that counts positions from 3."""

    config_class = ReefConfig

    def forward(self, input_ids, attention_mask=None, position_ids=None, **options):
        if position_ids is None:
            position_ids = torch.arange(3, 3 + input_ids.shape[1]).expand_as(input_ids)
        return super().forward(input_ids, attention_mask, position_ids=position_ids, **options)


class ReefForSequenceClassification(transformers.DistilBertForSequenceClassification):
    config_class = ReefConfig

    def __init__(self, config):
        super().__init__(config)
        self.distilbert = ReefModel(config)


class ReefAdapter(families.DistilBertAdapter):
    model_type, prefix = "reef", "Reef"

    @staticmethod
    def first_position(config):
        return 3


@pytest.fixture(scope="module", autouse=True)
def reef_is_known():
    """Make the family known while these tests run."""
    heads = transformers.AutoModelForSequenceClassification
    transformers.AutoConfig.register("reef", ReefConfig)
    transformers.AutoModel.register(ReefConfig, ReefModel)
    heads.register(ReefConfig, ReefForSequenceClassification)
    adapters.register_family(ReefAdapter)
    yield
    del adapters.FAMILIES["reef"]
    for name in [name for name in adapters.ADAPTERS if name.startswith("Reef")]:
        del adapters.ADAPTERS[name]


@pytest.fixture(scope="module", params=RANKERS)
def folder_and_ranker(request, tmp_path_factory):
    load, suffix = RANKERS[request.param]
    model_class = {"Model": ReefModel}.get(suffix, ReefForSequenceClassification)
    tokenizer = wordpiece()
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "num_labels": 1}
    model = draw_weights(model_class(ReefConfig(**DISTIL, **ids)).eval())
    folder = save(model, tokenizer, tmp_path_factory.mktemp("reef"))
    return folder, load(str(folder))


@torch.no_grad()
def test_it_scores_as_its_own_model_does(folder_and_ranker):
    folder, ranker = folder_and_ranker
    if isinstance(ranker, Cat):
        model = ReefForSequenceClassification.from_pretrained(folder)
        tokens = ranker.tokenizer([QUERY] * 2, TEXTS, padding=True, return_tensors="pt")
        expected = model(tokens["input_ids"], tokens["attention_mask"]).logits[:, 0]
    else:
        model = ReefModel.from_pretrained(folder)
        tokens = ranker.tokenizer([QUERY, *TEXTS], padding=True, return_tensors="pt")
        hidden = model(tokens["input_ids"], tokens["attention_mask"])[0]
        expected = hidden[1:, 0] @ hidden[0, 0]
    torch.testing.assert_close(torch.from_numpy(ranker.score(QUERY, TEXTS)), expected)


@pytest.mark.parametrize("site", ["head", "pattern", "resid_pre", "mlp_out"])
def test_exact_patching_equals_naive(folder_and_ranker, site):
    exact, naive = (
        patched(folder_and_ranker[1], site=site, method=method) for method in ("exact", "naive")
    )
    assert exact.provenance["engine"] != naive.provenance["engine"]
    assert_same(exact.scores, naive.scores)


def test_a_ranker_says_its_family(folder_and_ranker):
    assert "reef, 2 layers x 4 heads" in repr(folder_and_ranker[1])


def test_an_adapter_that_is_wrong_is_refused_at_load(folder_and_ranker, monkeypatch):
    folder, ranker = folder_and_ranker
    monkeypatch.setattr(ReefAdapter, "first_position", staticmethod(lambda config: 0))
    with pytest.raises(RuntimeError, match="output differs from the Hugging Face model's"):
        type(ranker)(str(folder))
