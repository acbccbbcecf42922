"""MonoT5: equal to plain Hugging Face, three stacks, constants called constants."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from patching_helpers import PAIRS, assert_same, patched
from small_models import ENCODER_DECODERS, save_mono_t5
from small_tokenizers import byte_level_bpe
from torch.utils.data import DataLoader
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import mechir_edu as me
from mechir_edu.data import MonoT5DataCollator
from mechir_edu.patching.activation import make_job, measure
from mechir_edu.patching.circuits.measure import Measure, set_job
from mechir_edu.patching.engines import encoder_decoder
from mechir_edu.patching.engines.encoder_decoder import Step
from mechir_edu.patching.engines.hooks import activations
from mechir_edu.patching.options import PatchOptions
from mechir_edu.patching.role_attention import role_attention, term_attention
from mechir_edu.patching.scoring import align_for
from mechir_edu.plots.heatmap import are_constant
from mechir_edu.rankers.agreement import VerificationError
from mechir_edu.rankers.mono_t5 import PROMPTS, answers_of, take_prompts
from mechir_edu.rankers.views import at_stack

WORDS = {"true_token": "true", "false_token": "▁false"}
TEXTS = ["Warm water makes corals lose their algae.", "Tea.", "  the reef\nis a reef  "]
STACKS = {
    "encoder": ("head", "pattern", "q", "k", "v", "resid_pre", "attn_out", "mlp_out"),
    "decoder": ("head", "v", "resid_pre", "attn_out", "mlp_out"),
    "cross": ("head", "pattern", "q", "k", "v", "attn_out"),
}
SHORT = [me.Pair("q", "d", "coral", "warm water", "warm water coral fish", "mine", 1, term="coral")]
TWO = [*SHORT, PAIRS[2]]
CELLS = [(stack, site) for stack, sites in STACKS.items() for site in sites]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save_mono_t5(name, tmp_path_factory.mktemp(name)) for name in ENCODER_DECODERS}


@pytest.fixture(scope="module", params=ENCODER_DECODERS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def ranker(folders):
    return me.MonoT5(str(folders["flan-t5"]), **WORDS)


@pytest.fixture(scope="module")
def precise(folders):
    """In float64: T5 does not scale its scores, so random weights make much of a rounding error."""
    ranker = me.MonoT5(str(folders["flan-t5"]), **WORDS, verify=False)
    ranker.hf_model.double()
    return ranker


def whole(query, text):
    return f"Query: {query} Document: {text} Relevant:"


def plain(folder, query, texts):
    """Logits of both words from Hugging Face's own model and tokenizer."""
    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForSeq2SeqLM, AutoTokenizer)
    )
    tokens = tokenizer([whole(query, t) for t in texts], padding=True, return_tensors="pt")
    start = torch.full((len(texts), 1), model.config.decoder_start_token_id)
    with torch.no_grad():
        logits = model.eval()(**tokens, decoder_input_ids=start).logits[:, 0]
    return logits[:, tokenizer.convert_tokens_to_ids(["▁true", "▁false"])]


def test_scores_are_those_of_plain_hugging_face(folders, family):
    ranker = me.MonoT5(str(folders[family]), **WORDS)
    logits = plain(folders[family], "coral reef", TEXTS)
    assert_same(ranker.score("coral reef", TEXTS), (logits[:, 0] - logits[:, 1]).numpy())
    log_softmax = logits.log_softmax(dim=1)[:, 0].numpy()
    assert_same(ranker.log_probability("coral reef", TEXTS), log_softmax)


def test_its_tokens_are_those_of_the_whole_text(ranker):
    tokenizer = AutoTokenizer.from_pretrained(ranker.name)
    for text in TEXTS:
        ids = ranker.tokenize(*ranker.texts_read([(" coral  reef ", text)], "both")[0])["input_ids"]
        assert ids[0].tolist() == tokenizer(whole(" coral  reef ", text))["input_ids"]


def test_a_long_document_is_cut_and_its_end_is_not(folders):
    ranker = me.MonoT5(str(folders["t5"]), **WORDS, max_length=24)
    ids = ranker.tokenize(*ranker.texts_read([("reef", "reef " * 50)], "both")[0])["input_ids"][0]
    assert len(ids) == 24
    assert ranker.tokenizer.decode(ids).endswith("Relevant:</s>")
    query = "reef " * 21
    with pytest.raises(ValueError, match="no room for a document within 24 tokens"):
        ranker.score(query, "reef")
    pair = me.Pair("q", "d", query, "reef", "reef sea", "mine", 1)
    with pytest.raises(ValueError, match="no pair|none of|query"):
        patched(ranker, [pair])


def test_roles_tell_prompts_texts_and_end_apart(ranker):
    pair = PAIRS[1]
    (aligned,) = me.align([pair], ranker.tokenizer, kind="monot5", prompts=ranker.prompts).aligned
    roles = [me.Role(role) for role in dict.fromkeys(aligned.roles.tolist())]
    assert roles == [*map(me.Role, (6, 1, 4, 3, 5, 7))]  # by first appearance
    order = [role for i, role in enumerate(aligned.roles) if i == 0 or aligned.roles[i - 1] != role]
    assert order[:3] == [me.Role.PROMPT, me.Role.QUERY, me.Role.PROMPT]
    assert order[-2:] == [me.Role.DOCUMENT, me.Role.END]
    tokenizer = AutoTokenizer.from_pretrained(ranker.name)
    text = tokenizer(whole(pair.query, pair.perturbed))["input_ids"]
    assert aligned.perturbed_ids.tolist() == text


def test_aligned_texts_are_shortened_in_the_document_alone(ranker):
    pair = me.Pair("q", "d", "reef", "reef " * 40, "reef " * 40 + "sea", "mine", 1, term="sea")
    (aligned,) = me.align(
        [pair], ranker.tokenizer, kind="monot5", prompts=PROMPTS, max_length=20
    ).aligned
    assert len(aligned.roles) == 20
    assert ranker.tokenizer.decode(aligned.baseline_ids).endswith("Relevant:</s>")
    assert (aligned.roles == me.Role.EDIT).sum() == len(ranker.tokenizer.tokenize("sea"))


@pytest.mark.parametrize(("stack", "site"), CELLS)
def test_exact_patching_equals_naive(precise, stack, site):
    exact, naive = (
        patched(precise, SHORT, stack=stack, site=site, method=method)
        for method in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)
    assert exact.provenance["stack"] == stack
    assert exact.provenance["engine"] == "encoder-decoder suffix"
    assert (np.abs(exact.effect()).max(axis=-1) > 0).any()


@pytest.mark.parametrize(("stack", "site"), [("encoder", "head"), ("decoder", "v"), ("cross", "k")])
def test_through_hooks_it_is_the_same(ranker, stack, site, monkeypatch):
    fast = patched(ranker, SHORT, stack=stack, site=site)
    monkeypatch.setattr(type(ranker), "engine", None)
    hooked = patched(ranker, SHORT, stack=stack, site=site)
    assert hooked.provenance["engine"] == "suffix through hooks: t5 is pre-LN"
    assert_same(fast.scores, hooked.scores)


def test_neither_what_is_kept_nor_what_waits_changes_a_score(ranker, monkeypatch):
    """With room for nothing, the encoder runs again, and each layer's cells are decoded alone."""
    kept = {stack: patched(ranker, SHORT, stack=stack) for stack in STACKS}
    monkeypatch.setattr(encoder_decoder, "KEPT", 0)
    monkeypatch.setattr(encoder_decoder, "HELD", 0)
    for stack, result in kept.items():
        assert_same(patched(ranker, SHORT, stack=stack).scores, result.scores)


def test_a_budget_leaves_nothing_to_keep(ranker):
    options = PatchOptions(stack="cross")
    for memory, keeps in ((None, True), (10**9, False)):
        job = make_job(replace(options, memory=memory), ranker, SHORT, False)
        measure(job, "auto")
        assert (len(job.fast.kept) > 0) == keeps


def test_an_engine_that_computes_something_else_is_noticed(folders, monkeypatch):
    monkeypatch.setattr(Step, "after_cross", lambda self, x: x + 1.01 * self.mlp_out(x))
    with pytest.raises(VerificationError, match="a fast patch differs from a patch through hooks"):
        me.MonoT5(str(folders["t5"]), **WORDS)
    ranker = me.MonoT5(str(folders["t5"]), **WORDS, verify=False)
    ranker.engines_agree = True
    with pytest.raises(VerificationError, match="differs from the wrapped model's by"):
        patched(ranker, SHORT, stack="cross")


BY_POSITION = [("encoder", "pattern"), ("encoder", "mlp_out"), ("cross", "k")]


@pytest.mark.parametrize("by", ["role", "pos"])
@pytest.mark.parametrize(("stack", "site"), BY_POSITION)
def test_exact_patching_of_some_positions_equals_naive(precise, stack, site, by):
    some = {} if site == "mlp_out" else {"heads": [(0, 1), (1, 0)]}
    exact, naive = (
        patched(precise, SHORT, stack=stack, site=site, by=by, method=method, **some)
        for method in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)


@pytest.mark.parametrize("stack", STACKS)
def test_putting_all_of_a_masked_filler_in_equals_naive(ranker, stack):
    exact, naive = (
        patched(ranker, SHORT, stack=stack, filler="pad", method=method)
        for method in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)


def test_all_of_the_encoders_last_layer_and_its_cross_attention_give_the_donor(ranker):
    """A patch of all that the decoder reads of the text turns the recipient into the donor."""
    first = patched(ranker, SHORT, site="resid_pre", direction="perturbed_to_baseline")
    assert_same(first.scores[0], first.donor)
    heads = [(layer, head) for layer in range(2) for head in range(2)]
    both = patched(
        ranker, SHORT, stack="cross", site="head", heads=heads, together=True, method="naive"
    )
    assert_same(both.scores[0], both.donor)


def test_what_is_the_same_in_every_run_is_called_constant(ranker):
    result = patched(ranker, SHORT, stack="decoder", site="head")
    assert list(dict(result.provenance["constants"])) == [0]
    assert "start token only" in dict(result.provenance["constants"])[0]
    assert (result.scores[0] == result.recipient).all()
    assert (result.scores[1] != result.recipient).any()
    table = result.heads_table()
    assert table.groupby("layer").constant.all().tolist() == [True, False]
    assert not patched(ranker, SHORT, stack="decoder", site="mlp_out").provenance["constants"]
    assert patched(ranker, SHORT, stack="cross", site="q").provenance["constants"][0][0] == 0


def test_constant_sites_of_one_key_are_refused_and_say_why(ranker):
    for site in ("q", "k", "pattern"):
        with pytest.raises(ValueError, match="single key: the pattern is the constant 1"):
            patched(ranker, SHORT, stack="decoder", site=site)
    with pytest.raises(ValueError, match="cross stack has no mlp_out of its own; needed one of"):
        patched(ranker, stack="cross", site="mlp_out")


def test_a_decoder_of_one_step_has_no_positions(ranker):
    with pytest.raises(ValueError, match="has one row in this stack and no positions"):
        patched(ranker, stack="cross", site="head", by="role")


def test_unknown_stacks_are_refused_with_those_there_are(ranker, small_ranker):
    with pytest.raises(ValueError, match="one of 'encoder', 'decoder', 'cross' for a MonoT5"):
        patched(ranker, stack="middle")
    with pytest.raises(ValueError, match="a bi-encoder has one stack"):
        patched(small_ranker("bert", "dot"), stack="encoder")


def test_passed_over_blocks_still_hand_on_the_relative_positions(ranker):
    exact, naive = (
        patched(ranker, SHORT, heads=[(2, 1)], method=method) for method in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_is_ablated(precise, stack, how):
    exact, naive = (
        me.ablate(
            precise,
            TWO,
            heads=[(0, 1), (1, 0)],
            how=how,
            stack=stack,
            method=method,
            progress=False,
        )
        for method in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)
    assert (exact.scores[-1] != exact.recipient).any()
    assert not exact.provenance["constants"]


@pytest.mark.parametrize("stack", STACKS)
def test_a_gradient_is_the_slope_of_a_patch(ranker, stack):
    heads, direction = [(0, 1), (1, 0)], "perturbed_to_baseline"
    options = {"stack": stack, "heads": heads, "direction": direction}
    estimated = patched(ranker, SHORT, method="gradient", **options)
    (batch,) = set_job(ranker, align_for(ranker, SHORT, "a"), None).batches
    of_stack = at_stack(ranker, stack).stack
    for i, (layer, head) in enumerate(heads):
        name = of_stack.hook_name("head", layer)
        recipient, donor = (
            activations(ranker, batch.side(side), [name])[name]
            for side in ("baseline", "perturbed")
        )
        step = torch.zeros_like(recipient)
        step[:, :, head] = 0.01 * (donor - recipient)[:, :, head]
        scores = []
        for sign in (1, -1):
            with ranker.bridge.hooks(fwd_hooks=[(name, lambda z, hook, s=sign * step: z + s)]):
                scores.append(float(batch.score(ranker, batch.side("baseline"))[0]))
        slope = (scores[0] - scores[1]) / 0.02
        np.testing.assert_allclose(estimated.effect()[i, 0], slope, rtol=0.02, atol=1e-3)


def test_results_of_two_stacks_are_not_compared(ranker):
    encoder, cross = (patched(ranker, SHORT, stack=stack) for stack in ("encoder", "cross"))
    with pytest.raises(ValueError, match="stack"):
        cross.contrast(encoder)


def test_an_intervention_holds_in_every_stack(ranker):
    out = ranker.under(me.Knockout([(0, 1), (1, 0)]))
    exact, naive = (
        me.patch(out, SHORT, stack="cross", method=method, progress=False)
        for method in ("exact", "naive")
    )
    assert_same(exact.scores, naive.scores)
    assert not np.allclose(exact.recipient, patched(ranker, SHORT, stack="cross").recipient)


def test_the_papers_code_runs(folders):
    from mechir_edu.data import Item, MechIRDataset, MonoT5DataCollator
    from mechir_edu.models import MonoT5
    from mechir_edu.perturb import perturbation

    model = MonoT5(str(folders["t5"]), **WORDS)

    @perturbation
    def func(document):
        return "MechIR! " + document

    dataset = MechIRDataset("embedded", n=2)
    dataset.items = [Item("coral reef", "Warm water."), Item("fish", "A reef in the sea.")]
    collator = MonoT5DataCollator(model.tokenizer, func)
    loader = DataLoader(dataset, collate_fn=collator)
    outputs = [model.patch(**batch, heads=[(0, 0)]) for batch in loader]
    assert [output.scores.shape for output in outputs] == [(1, 1)] * 2


def test_a_collators_pairs_read_as_the_ranker_does(ranker):
    batch = MonoT5DataCollator(ranker.tokenizer, lambda text: f"{text} reef")(
        [("coral", "Warm water.")]
    )
    scores = me.score_pairs(ranker, batch["aligned"], progress=False)
    assert_same(scores.perturbed, ranker.score("coral", ["Warm water. reef"]))


def test_words_may_be_given_by_their_ids(folders, ranker):
    ids = ranker.tokenizer.convert_tokens_to_ids(["▁true", "▁false"])
    by_id = me.MonoT5(str(folders["flan-t5"]), true_token=ids[0], false_token=ids[1], verify=False)
    assert by_id.settings == ranker.settings
    assert_same(by_id.score("coral", TEXTS), ranker.score("coral", TEXTS))
    with pytest.raises(ValueError, match="or an id below"):
        me.MonoT5(str(folders["t5"]), true_token=ids[0], false_token=10**6)


def test_words_are_known_by_name_or_asked_for(folders):
    assert answers_of("castorini/monot5-3b-msmarco-10k@main", None, None) == ("▁true", "▁false")
    assert answers_of("unicamp-dl/mt5-base-mmarco-v2", None, None) == ("▁yes", "▁no")
    assert answers_of("unicamp-dl/ptt5-base-pt-msmarco-100k-v1", None, None) == ("▁sim", "▁não")
    with pytest.raises(ValueError, match="pass both true_token= and false_token="):
        me.MonoT5(str(folders["t5"]))
    with pytest.raises(ValueError, match="pass both"):
        answers_of("castorini/monot5-base-msmarco", "yes", None)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("coral reef", "false"), "is one token.*got 'coral reef'"),
        (("true", "▁true"), "two different answers"),
        (("true", "珊瑚礁"), "reads as"),
    ],
)
def test_words_of_several_or_unknown_tokens_are_refused(folders, words, error):
    with pytest.raises(ValueError, match=error):
        me.MonoT5(str(folders["t5"]), true_token=words[0], false_token=words[1])


def test_each_kind_is_told_the_class_that_reads_it(folders, small_ranker):
    with pytest.raises(ValueError, match="if it was trained as MonoT5, me.MonoT5 reads it"):
        me.Dot(str(folders["t5"]))
    with pytest.raises(ValueError, match="is a t5 model.*if it ranks, is read by me.MonoT5"):
        me.Dot(str(folders["t5"]), pooling="mean")
    bert = small_ranker("bert", "dot").name
    with pytest.raises(ValueError, match="if it is a bi-encoder, me.Dot reads it"):
        me.MonoT5(bert, **WORDS)


def test_a_tokenizer_that_joins_words_across_prompts_is_refused():
    with pytest.raises(ValueError, match="joins tokens across the prompts"):
        take_prompts(deepcopy(byte_level_bpe()), Path("folder"))


def test_a_stack_is_chosen_in_a_view(ranker):
    assert at_stack(ranker, None) is ranker
    assert (at_stack(ranker, "cross").n_layers, ranker.n_layers) == (2, 3)


def test_sets_of_a_circuit_are_put_into_the_encoder(ranker):
    heads, direction = [(0, 1), (2, 0)], "baseline_to_perturbed"
    together = patched(ranker, TWO, heads=heads, together=True, direction=direction)
    job = set_job(ranker, align_for(ranker, TWO, "a"), None)
    restored, _ = Measure(job, direction, "other run").effects([frozenset(heads)], [])
    assert_same(restored, together.effect())


def test_a_direction_is_as_wide_as_a_head(ranker):
    direction = np.ones(12, dtype=np.float32)
    steered = ranker.under(me.Steer([(0, 0)], direction))
    assert not np.allclose(steered.score("coral", TEXTS), ranker.score("coral", TEXTS))
    with pytest.raises(ValueError, match="has 12 dimensions here, got 16"):
        ranker.under(me.Steer([(0, 0)], np.ones(16, dtype=np.float32))).score("coral", TEXTS)


def test_what_a_head_sees_of_roles_is_read_off_the_alignment_alone(ranker):
    seen = role_attention(ranker, SHORT)
    assert seen.between("other document", "prompt").min() > 0
    with pytest.raises(ValueError, match="writes no special token between query"):
        term_attention(ranker, "coral", ["warm water"])


def test_what_is_constant_is_drawn_so(ranker):
    first = patched(ranker, PAIRS, stack="decoder").recovery()
    assert are_constant(first).tolist() == [[True, True], [False, False]]
