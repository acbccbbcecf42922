"""A kind of ranker is one class and one entry: the two below are all that patching needs."""

import numpy as np
import pytest
import torch
from patching_helpers import PAIRS, assert_same, patched
from small_models import save_model

import mechir_edu as me
from mechir_edu.rankers.base import Ranker, undisturbed
from mechir_edu.rankers.checkpoint.loading import (
    load_encoder,
    model_folder,
    weights_sha256,
)
from mechir_edu.rankers.checkpoint.tokenizer import load_tokenizer
from mechir_edu.rankers.kinds import KINDS, load_ranker
from mechir_edu.rankers.pooling import mean_pool
from mechir_edu.rankers.texts import encode, listed
from mechir_edu.rankers.verification import wrap


class Toy(Ranker):
    """Any encoder; a vector is the mean of its hidden states."""

    reads_first_position_only = False

    def __init__(self, name, *, device="auto"):
        folder = model_folder(name)
        parts = load_encoder(folder), load_tokenizer(folder)
        checksum = weights_sha256(folder)
        super().__init__(name, *parts, checksum=checksum, max_length=None, device=device)
        wrap(self, verify=True)

    def publisher_output(self, inputs):
        return self.output(self.hf_model(**inputs)[0], inputs["attention_mask"])


class Together(Toy):
    """Reads query and document in one sequence; the score is the sum of the vector."""

    kind, kind_name, reads_together = "sum", "sum of a vector", True

    def tokenize(self, queries, texts):
        texts = listed(texts)
        queries = [queries] * len(texts) if isinstance(queries, str) else queries
        return encode(self.tokenizer, queries, texts, max_length=self.max_length)

    def output(self, hidden, attention_mask):
        return mean_pool(hidden, attention_mask).sum(dim=1)

    def relevance(self, hidden, attention_mask, fixed=None):
        return self.output(hidden, attention_mask)

    @torch.no_grad()
    def score(self, query, texts, *, batch_size=32, during=undisturbed):
        with during("both"):
            return self.forward(query, texts).numpy()


class Apart(Toy):
    """Reads query and document each alone; the nearer their vectors, the higher the score."""

    kind, kind_name, reads_together = "near", "nearness of vectors", False

    def tokenize(self, texts):
        return encode(self.tokenizer, listed(texts), max_length=self.max_length)

    def output(self, hidden, attention_mask):
        return mean_pool(hidden, attention_mask)

    def relevance(self, hidden, attention_mask, fixed):
        return -(self.output(hidden, attention_mask) - fixed).abs().sum(dim=1)

    @torch.no_grad()
    def encode_fixed(self, sequences):
        return torch.cat([self.forward(torch.from_numpy(ids)[None]) for ids in sequences])

    @torch.no_grad()
    def encode_query(self, query):
        return self.forward(query)

    @torch.no_grad()
    def encode_documents(self, texts, *, batch_size=32):
        return self.forward(texts)

    def compare(self, query, documents):
        return -(documents - query).abs().sum(dim=1).numpy()

    def score(self, query, texts, *, batch_size=32, during=undisturbed):
        with during("document"):
            documents = self.encode_documents(texts)
        with during("query"):
            return self.compare(self.encode_query(query), documents)


@pytest.fixture(scope="module", params=[Together, Apart])
def toy(request, tmp_path_factory):
    folder = save_model("bert", "Model", tmp_path_factory.mktemp("toy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, request.param.kind, request.param)
        yield load_ranker(request.param.kind, str(folder))


@pytest.mark.parametrize("site", ["head", "resid_pre"])
def test_exact_patching_equals_naive(toy, site):
    exact, naive = (patched(toy, site=site, method=method) for method in ("exact", "naive"))
    assert_same(exact.scores, naive.scores)
    assert exact.provenance["kind"] == toy.kind


def test_pairs_are_scored_as_texts_are(toy):
    pairs = [pair for pair in PAIRS if len(toy.tokenizer.tokenize(pair.term)) == 1]
    scores = me.score_pairs(toy, pairs)
    expected = [toy.score(pair.query, [pair.perturbed])[0] for pair in pairs]
    assert_same(scores.perturbed, np.array(expected))


def test_a_gradient_points_where_patching_goes(toy):
    exact, estimated = (patched(toy, method=method) for method in ("exact", "gradient"))
    assert_same(estimated.recipient, exact.recipient)
    assert estimated.scores.shape == exact.scores.shape


def test_pairs_that_another_kind_reads_are_refused(toy):
    aligned = me.align(PAIRS, toy.tokenizer, kind="dot")
    with pytest.raises(ValueError, match=f"aligned for a dot, but the ranker is a {toy.kind}"):
        me.patch(toy, aligned)


def test_its_rankings_are_evaluated_with_and_without_an_intervention(toy, collection):
    out = me.Knockout([(layer, head) for layer in (0, 1) for head in range(4)])
    effect = me.compare(toy, collection, out, query_ids=["q01", "q02"], progress=False)
    assert np.isfinite(effect.change()).all()
    assert effect.before.run != effect.after.run


def test_an_unknown_kind_is_refused_with_those_there_are(toy):
    with pytest.raises(ValueError, match=f"'dot' .bi-encoder.*or '{toy.kind}' .{toy.kind_name}"):
        load_ranker("unheard-of", "anything")
