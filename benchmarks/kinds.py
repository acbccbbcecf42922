"""Patch all heads of every kind of ranker: exact over one forward pass for each head.

Encoders have MiniLM's weights, `Sparse` its embedded checkpoint. Decoders and MonoT5 have real
shapes and random weights, on which speed does not depend, and tokenizers that are trained on the
pairs, so that no checkpoint is needed. Every layer costs ``naive`` the same, so that of the large
shapes it patches a few layers only, and its time is scaled to all; scores are compared there.

To reach on one thread: decoders 15 times as fast as naive on an edit at the end, MonoT5 5 times.
"""

import json
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, interleave, load_pairs, parse, report, settings_of

TEMPLATE = (
    "Is the document about the query?\nQuery: {query}\nDocument: {document}\nAnswer (yes or no):"
)
DECODERS = {  # layers, heads, of them with keys and values, d_model, d_mlp
    "tiny": (2, 4, 2, 64, 128),
    "smollm2-135m": (30, 9, 3, 576, 1536),
}
T5S = {  # layers of either stack, heads, d_model, d_mlp
    "t5-tiny": (2, 4, 64, 128),
    "t5-small": (6, 8, 512, 2048),
    "t5-base": (12, 12, 768, 3072),
}
ENCODERS = ("dot", "cat", "sparse", "multivector")
TO_REACH = {"decoder": ">= 15", "monot5": ">= 5"}


def main() -> None:
    """Time exact and naive of each kind on the same pairs, in turns."""
    options = read_options()
    title, pairs = load_pairs(options)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(options.kinds):
            rows += measure(kind, Path(folder) / str(number), pairs, options)
            report(f"All heads of every kind; {title}", rows, options)


def read_options() -> Namespace:
    """Read the options of all benchmarks and of this one."""
    known = (*ENCODERS, *DECODERS, *T5S)
    usual = (*ENCODERS, "smollm2-135m", "t5-small")
    parser = arguments(__doc__.splitlines()[0], pairs=2, repeats=1)
    parser.add_argument("--kinds", nargs="+", choices=known, default=usual, help="what is timed")
    parser.add_argument(
        "--layers", type=int, default=2, help="in which naive is timed, if a shape has over six"
    )
    return parse(parser)


def measure(kind: str, folder: Path, pairs: list, options: Namespace) -> list[dict[str, Any]]:
    """Rows of one kind: one for each of its stacks."""
    import mechir_edu as me
    from mechir_edu.patching.scoring import align_for

    folder.mkdir()
    make: dict[str, Callable[[], Any]] = {
        "dot": lambda: me.Dot("embedded"),
        "cat": lambda: me.Cat("embedded"),
        "sparse": lambda: me.Sparse("embedded"),
        "multivector": lambda: me.MultiVector(str(save_colbert(folder))),
    }
    make |= {name: partial(make_decoder, name, folder, pairs) for name in DECODERS}
    make |= {name: partial(make_t5, name, folder, pairs) for name in T5S}
    ranker = make[kind]()
    aligned = align_for(ranker, pairs, "a")
    rows = [compare(kind, ranker, aligned, stack, options) for stack in ranker.stacks]
    return rows if len(rows) == 1 else [*rows, together(kind, rows)]


def compare(kind: str, ranker: Any, aligned: Any, stack: Any, options: Namespace) -> dict[str, Any]:
    """Time both methods on one stack, and hold their scores against each other."""
    import mechir_edu as me

    n_layers, title = stack.n_layers, stack.title or None
    every = np.unique(np.linspace(0, n_layers - 1, options.layers).round().astype(int))
    layers = every if n_layers > 6 else np.arange(n_layers)
    heads = [(int(layer), head) for layer in layers for head in range(stack.n_heads)]
    patch = partial(me.patch, ranker, aligned, stack=title, progress=False)
    tasks = {"exact": patch, "naive": partial(patch, method="naive", heads=heads)}
    times, results = interleave(tasks, options.repeats)
    exact, naive = results["exact"], results["naive"]
    compared = exact.scores[layers].reshape(naive.scores.shape)
    size = max(1.0, float(np.abs(naive.recipient).max()))
    seconds = times["exact"].median_cpu, times["naive"].median_cpu * n_layers / len(layers)
    apart = float(np.abs(compared - naive.scores).max()) / size
    if apart > 1e-4:
        raise SystemExit(f"exact and naive differ by {apart:.2g} of the scores: {kind} {title}")
    return {
        "kind": f"{kind} {title or ''}".strip(),
        "heads": n_layers * stack.n_heads,
        "tokens": int(np.median([len(pair.roles) for pair in aligned.aligned])),
        "engine": exact.provenance["engine"],
        "exact CPU s": seconds[0],
        "naive CPU s": seconds[1],
        "naive / exact": seconds[1] / seconds[0],
        "to reach": TO_REACH["decoder"] if kind in DECODERS else "",
        "naive timed in layers": len(layers),
        "largest difference, of the scores": apart,
        "mean |effect|": float(np.abs(naive.effect()).mean()),
    }


def together(kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All stacks of a ranker in one row."""
    both = {name: sum(row[name] for row in rows) for name in ("exact CPU s", "naive CPU s")}
    largest = "largest difference, of the scores"
    return rows[0] | {
        "kind": f"{kind}, all",
        "heads": sum(row["heads"] for row in rows),
        **both,
        "naive / exact": both["naive CPU s"] / both["exact CPU s"],
        "to reach": TO_REACH["monot5"],
        largest: max(row[largest] for row in rows),
        "mean |effect|": "",
    }


def words_of(pairs: Sequence[Any]) -> list[str]:
    """Texts that a tokenizer is trained on: enough for one that cuts few words."""
    import mechir_edu as me

    more = me.make_pairs(me.load_collection("embedded"), "TFC1", n=500)
    return [text for pair in (*pairs, *more) for text in (pair.query, pair.perturbed)]


def make_decoder(name: str, folder: Path, pairs: list) -> Any:
    """A yes/no reranker of random weights: Llama in a shape of `DECODERS`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    import mechir_edu as me

    n_layers, n_heads, n_kv, d_model, d_mlp = DECODERS[name]
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator([*words_of(pairs), TEMPLATE, "yes no " * 9], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", model_max_length=512
    )
    config = LlamaConfig(
        **settings_of(tokenizer, n_layers, n_heads, d_model, d_mlp),
        num_key_value_heads=n_kv,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
    )
    save(LlamaForCausalLM(config), tokenizer, folder)
    return me.Cat(str(folder), true_token=10, false_token=11, template=TEMPLATE)


def make_t5(name: str, folder: Path, pairs: list) -> Any:
    """A MonoT5 of random weights in a shape of `T5S`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    import mechir_edu as me

    n_layers, n_heads, d_model, d_mlp = T5S[name]
    words = Tokenizer(models.Unigram())
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=4000,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    words.train_from_iterator(words_of(pairs), trainer)
    learnt = [tuple(piece) for piece in json.loads(words.to_str())["model"]["vocab"]]
    prompt = [f"▁{word}" for word in "Query: Document: Relevant: true false".split()]
    known = {piece for piece, _ in learnt}
    vocab = learnt + [(piece, -3.0) for piece in prompt if piece not in known]
    tokenizer = T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=d_model,
        d_kv=d_model // n_heads,
        d_ff=d_mlp,
        num_layers=n_layers,
        num_heads=n_heads,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    )
    save(T5ForConditionalGeneration(config), tokenizer, folder)
    return me.MonoT5(str(folder), true_token="▁true", false_token="▁false")


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Draw weights that keep activations at their size, so that patches have effects, and save."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                drawn = torch.randn(weight.shape, generator=generator)
                size = 0.5 if "embed" in name or "shared" in name else weight.shape[1] ** -0.5
                # T5 does not scale its scores, so its queries are small.
                size *= model.config.d_kv**-0.5 if name.endswith("Attention.q.weight") else 1
                weight.copy_(drawn * size)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_colbert(folder: Path) -> Path:
    """MiniLM with a random projection, as Stanford's ColBERT writes it."""
    import torch
    from safetensors.torch import load_file, save_file

    from mechir_edu.files import embedded_folder

    for file in Path(embedded_folder()).iterdir():
        if file.name in ("config.json", "model.safetensors", "vocab.txt") or "token" in file.name:
            shutil.copyfile(file, folder / file.name)
    weights = {f"bert.{n}": w for n, w in load_file(folder / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(0)
    weights["linear.weight"] = torch.randn(128, 384, generator=generator) * 384**-0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["HF_ColBERT"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    metadata = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "doc_maxlen": 180}
    metadata |= {"query_maxlen": 32, "attend_to_mask_tokens": False, "mask_punctuation": True}
    (folder / "artifact.metadata").write_text(json.dumps(metadata), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
