"""MechIR's side of the benchmarks, run by the environment that `mechir_environment` makes.

Reads one JSON request from each line of its input and answers with one JSON line; `mechir_client`
is the other end. It knows nothing of mechir_edu: token ids come in a .npz file, scores go back.
"""

import json
import os
import sys
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from common import extra_memory, pin_threads, timed
from mechir import Cat, Dot
from mechir.data import DotDataCollator
from mechir.modelling.patched import BLOCK_COMPONENTS
from mechir.util import linear_rank_function

BATCH_SIZE = 8  # MechIR's README


class Side:
    """A MechIR ranker and the batches it was given; each method answers one kind of request."""

    def __init__(self) -> None:
        self.batches: dict[str, list[dict]] = {}

    def load(self, model: str, pooling: str | None) -> dict:
        """Load a checkpoint's folder as its README does, but for the pooling; without it, Cat."""
        self.ranker = Dot(model, pooling_type=pooling) if pooling else Cat(model)
        packages = ("mechir", "transformer-lens", "transformers", "torch", "numpy")
        return {"versions": {name: version(name) for name in packages}}

    def hand_over(self, name: str, file: str) -> dict:
        """Take batches of token ids: arrays "0/queries/input_ids", "1/documents/..." and so on."""
        batches: dict[str, dict] = {}
        with np.load(file) as arrays:
            for key in arrays.files:
                batch, text, part = key.split("/")
                texts = batches.setdefault(batch, {}).setdefault(text, {})
                texts[part] = torch.from_numpy(arrays[key])
        self.batches[name] = list(batches.values())
        return {}

    def collate(self, name: str, texts: list[list[str]]) -> dict:
        """Make batches of (query, document, perturbed document) as MechIR's README does."""
        collator = DotDataCollator(self.ranker.tokenizer, pre_perturbed=True)
        chunks = [texts[i : i + BATCH_SIZE] for i in range(0, len(texts), BATCH_SIZE)]
        self.batches[name] = [collator(chunk) for chunk in chunks]
        return {}

    def heads(self, name: str) -> dict:
        """Patch all heads of all batches, timed; scores [batch][cell][pair]."""
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() if on_gpu else 0
        run = timed(lambda: [self._patch_heads(batch) for batch in self.batches[name]])
        most = (torch.cuda.max_memory_allocated() - before) / 1e6 if on_gpu else ""
        return {**_answer(run), "gpu_MB": most}

    def blocks(self, name: str, n_positions: int) -> dict:
        """Patch a part of ``block_all``'s cells: all components and layers, some positions.

        Every cell costs one forward pass, wherever it is, so that the part stands for the whole.
        ``before`` is the time of what comes before the cells, of which there is one a batch.
        """
        batches = self.batches[name]
        before = timed(lambda: [self._runs(batch) for batch in batches])
        pairs = list(zip(batches, before.value, strict=True))
        cells = timed(lambda: [self._patch_blocks(*pair, n_positions) for pair in pairs])
        n_cells = sum(len(positions(batch, n_positions)) for batch in batches)
        n_all = sum(batch["documents"]["input_ids"].shape[1] for batch in batches)
        once = {"cpu": before.cpu, "wall": before.wall}
        return {**_answer(cells), "before": once, "share": n_cells / n_all}

    def memory(self, name: str) -> dict:
        """Extra peak memory of patching the heads of one batch, after a forward pass, in MB."""
        batch = self.batches[name][0]
        with (
            torch.no_grad()
        ):  # a graph would be freed but stay resident, and hide what patching takes
            self.ranker.forward(*_inputs(batch["documents"]))
        return {"MB": extra_memory(lambda: self._patch_heads(batch))}

    def _patch_heads(self, batch: dict) -> list[list[float]]:
        scores: list[list[float]] = []

        def note(patched: torch.Tensor, score: torch.Tensor, perturbed: torch.Tensor) -> Any:
            scores.append(patched.tolist())
            return linear_rank_function(patched, score, perturbed)

        self.ranker.patch(**batch, patch_type="head_all", patching_metric=note)
        return scores

    @torch.no_grad()
    def _runs(self, batch: dict) -> tuple:
        """What ``Dot.patch`` computes before its cells: queries, and the cache of the donor."""
        _, queries, *_ = self.ranker.score(batch["queries"], batch["documents"])
        donor = batch["perturbed_documents"]
        *_, cache = self.ranker.score(batch["queries"], donor, cache=True, reps_q=queries)
        return queries, cache

    @torch.no_grad()
    def _patch_blocks(self, batch: dict, runs: tuple, n_positions: int) -> list[list[float]]:
        (queries, cache), scores = runs, []
        ranker, at = self.ranker, positions(batch, n_positions)
        cells = np.ndindex(len(BLOCK_COMPONENTS), ranker._n_layers, len(at))
        for component, layer, index in cells:
            hook = partial(ranker._patch_residual_component, pos=at[index], clean_cache=cache)
            patched = ranker._run_patched(
                batch["documents"], BLOCK_COMPONENTS[component], layer, hook
            )
            scores.append(ranker._patch_score(patched, reps_q=queries).tolist())
        return scores


def positions(batch: dict, n: int) -> list[int]:
    """N positions, evenly spaced over a batch's documents from the first to the last."""
    n_pos = batch["documents"]["input_ids"].shape[1]
    return sorted({int(at) for at in np.linspace(0, n_pos - 1, n)})


def _inputs(texts: dict) -> tuple:
    return texts["input_ids"], texts["attention_mask"]


def _answer(run: Any) -> dict:
    return {"cpu": run.cpu, "wall": run.wall, "scores": run.value}


def main() -> None:
    """Answer requests until the input ends."""
    # The libraries print to standard output: it becomes standard error, and answers go by a copy.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    pin_threads()
    side = Side()
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(side, request.pop("call"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
