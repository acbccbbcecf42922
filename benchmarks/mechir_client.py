"""Talk to MechIR in its own environment: hand pairs over, let it patch, get scores and times."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import Timed
from mechir_environment import DEFAULT, python_of

SIDE = Path(__file__).with_name("mechir_side.py")
TOLERANCE = 1e-4  # of scores that both sides compute from the same token ids; see check_agreement


class MechIR:
    """A process in which MechIR has loaded a checkpoint.

    Attributes
    ----------
    versions : of MechIR and what it runs on.
    gpu_megabytes : peak of its last call beside what it held before; "" on a CPU.
    """

    def __init__(self, process: subprocess.Popen, model: Path, pooling: str | None) -> None:
        self.process, self.gpu_megabytes = process, ""
        self.versions = self.ask("load", model=str(model), pooling=pooling)["versions"]

    def ask(self, call: str, **request: Any) -> dict:
        """Call a method of ``mechir_side.Side`` and wait for what it answers."""
        print(json.dumps({"call": call, **request}), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"MechIR's process ended during {call!r}; its own words are above")
        return json.loads(answer)

    def hand_over(self, name: str, batches: Sequence[Sequence]) -> None:
        """Give it batches of aligned pairs of equal length (no mask but of the queries)."""
        arrays = {}
        for i, pairs in enumerate(batches):
            texts = _joint_texts(pairs) if pairs[0].fixed_ids is None else _texts(pairs)
            for text, parts in texts.items():
                arrays |= {f"{i}/{text}/{part}": array for part, array in parts.items()}
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "ids.npz", **arrays)
            self.ask("hand_over", name=name, file=str(Path(folder) / "ids.npz"))

    def collate(self, name: str, pairs: Sequence) -> None:
        """Let it make batches of the pairs' texts by its default collator."""
        texts = [[pair.query, pair.baseline, pair.perturbed] for pair in pairs]
        self.ask("collate", name=name, texts=texts)

    def heads(self, name: str) -> Timed:
        """Patch all heads of some batches; gives scores [cell, pair] and MechIR's own times."""
        answer = self.ask("heads", name=name)
        self.gpu_megabytes = answer["gpu_MB"]
        scores = np.concatenate([np.array(batch) for batch in answer["scores"]], axis=1)
        return Timed(answer["cpu"], answer["wall"], scores)

    def blocks(self, name: str, n_positions: int) -> Timed:
        """Patch ``block_all``'s cells at some positions; gives scores [batch][cell][pair].

        The times are scaled to all positions.
        """
        answer = self.ask("blocks", name=name, n_positions=n_positions)
        before, share = answer["before"], answer["share"]
        cpu, wall = (before[clock] + answer[clock] / share for clock in ("cpu", "wall"))
        return Timed(cpu, wall, answer["scores"])


def _texts(pairs: Sequence) -> dict[str, dict[str, np.ndarray]]:
    """A batch for a bi-encoder by MechIR's names, arrays [pair, pos]; queries are padded."""
    longest = max(len(pair.fixed_ids) for pair in pairs)
    queries = np.full((len(pairs), longest), -1)
    for row, pair in zip(queries, pairs, strict=True):
        row[: len(pair.fixed_ids)] = pair.fixed_ids
    texts = {
        "queries": queries,
        "documents": np.stack([pair.baseline_ids for pair in pairs]),
        "perturbed_documents": np.stack([pair.perturbed_ids for pair in pairs]),
    }
    return {
        text: {"input_ids": np.maximum(ids, 0), "attention_mask": (ids >= 0).astype(np.int64)}
        for text, ids in texts.items()
    }


def _joint_texts(pairs: Sequence) -> dict[str, dict[str, np.ndarray]]:
    """A batch for a cross-encoder by MechIR's names, arrays [pair, pos]."""
    sides = {"sequences": "baseline", "perturbed_sequences": "perturbed"}
    return {
        text: {
            "input_ids": np.stack([getattr(pair, f"{side}_ids") for pair in pairs]),
            "attention_mask": np.stack([getattr(pair, f"{side}_mask") for pair in pairs]),
            "token_type_ids": np.stack([pair.token_type_ids for pair in pairs]),
        }
        for text, side in sides.items()
    }


def add_mechir_option(parser: ArgumentParser) -> None:
    """Let the user say where MechIR's environment is."""
    parser.add_argument(
        "--mechir", type=Path, default=DEFAULT, help="environment of mechir_environment.py"
    )


def add_ranker_options(parser: ArgumentParser) -> None:
    """Let the user say what MechIR's and our ranker pool, and how MechIR's texts are padded."""
    add_mechir_option(parser)
    parser.add_argument("--pooling", choices=("mean", "cls"), default="mean", help="of both sides")
    parser.add_argument(
        "--padding", choices=("tight", "readme", "both"), default="both", help="of MechIR's texts"
    )


@contextmanager
def mechir(
    options: Namespace, pooling: str | None, model: Path | None = None
) -> Iterator[MechIR | None]:
    """MechIR's process while the context lasts; None, said loudly, without its environment.

    ``model`` is the folder of the checkpoint that it loads, the embedded one when omitted. Without
    a pooling it is loaded as a cross-encoder.
    """
    python = python_of(options.mechir)
    if python is None:
        print(
            f"\n*** MechIR LEFT OUT: no finished environment in {options.mechir}", file=sys.stderr
        )
        print("*** Make one by: python benchmarks/mechir_environment.py\n", file=sys.stderr)
        yield None
        return
    from mechir_edu.files import embedded_folder

    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen([python, SIDE], env=environment, **pipes) as process:
        try:
            yield MechIR(process, model or embedded_folder(), pooling)
        finally:
            process.stdin.close()


def describe(other: MechIR | None) -> str:
    """MechIR and the versions that it runs on, or that it is missing."""
    versions = {"MechIR": "left out"} if other is None else other.versions
    return " ".join(f"{name} {version}" for name, version in versions.items())


class Ours:
    """Our side: pairs, aligned, and a ranker that scores as MechIR's ``Dot`` does.

    That is the dot product of embeddings that are not normalised.
    """

    def __init__(self, pairs: list, pooling: str) -> None:
        import mechir_edu as me
        from mechir_edu.alignment.aligner import align

        ranker = me.Dot("embedded", pooling=pooling, similarity="dot")
        ranker.head = replace(ranker.head, normalise=False)
        options = {"kind": ranker.kind, "filler": "a", "max_length": ranker.max_length}
        self.ranker, self.pairs = ranker, align(pairs, ranker.tokenizer, **options)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair's document."""
        return [len(pair.roles) for pair in self.pairs.aligned]

    @property
    def groups(self) -> list[list[int]]:
        """Indices of the pairs by their number of tokens: batches that need no padding."""
        groups = defaultdict(list)
        for index, n_pos in enumerate(self.lengths):
            groups[n_pos].append(index)
        return [groups[n_pos] for n_pos in sorted(groups)]

    def batches(self) -> list[list]:
        """The pairs of each group."""
        return [[self.pairs.aligned[i] for i in group] for group in self.groups]

    def describe(self) -> str:
        """Ranker and length of the documents."""
        n_tokens = f"{statistics.median(self.lengths):.0f} tokens (median)"
        return f"MiniLM, {self.ranker.head.pooling} pooling, {n_tokens}"

    def scores(self, pairs: Any = None, **options: Any) -> np.ndarray:
        """Scores after each patch, in the direction that MechIR has; of all pairs, or of some."""
        from mechir_edu.patching.activation import patch

        direction, pairs = "perturbed_to_baseline", pairs or self.pairs
        options |= {"direction": direction, "progress": False}
        return patch(self.ranker, pairs, **options).scores


def check_agreement(what: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference between both sides' scores.

    Raises
    ------
    RuntimeError
        Where it is beyond `TOLERANCE`, of the largest score where that is above 1: then both do not
        compute the same thing, and no ratio of their times means anything.
    """
    difference = float(np.abs(ours - theirs).max())
    if difference > TOLERANCE * max(1.0, float(np.abs(theirs).max())):
        raise RuntimeError(f"{what}: scores of both sides differ by {difference:.2g}")
    return difference
