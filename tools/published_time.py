"""Estimate how long a reproduction takes, from the operations that it needs.

An estimate and no measurement: operations of exact head patching (`benchmarks/floor.py` counts
them), over a GPU's peak, at a stated share of it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from published_files import Published

from mechir_edu.files import embedded_folder
from mechir_edu.plots.words import markdown_table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from floor import Operations  # noqa: E402

T4_PEAK = 8.1e12  # fp32 operations a second, NVIDIA's data sheet
USED = (0.2, 0.4)  # share of the peak that products of this size are expected to get
SHAPES = {"TAS-B": (768, 3072, 6, 12), "monoELECTRA": (768, 3072, 12, 12)}  # both score at [CLS]
N_PAIRS, N_AXIOMS = 1000, 2


def tell_time(published: Sequence[Published]) -> str:
    """Lay the estimate out as a table, with what it is made of."""
    rows = []
    for ranker, shape in SHAPES.items():
        lengths = token_lengths(next(p for p in published if p.ranker == ranker))
        each = Operations(*shape, first_row_only=True).all_heads(lengths) / len(lengths)
        low, high = (
            each * N_PAIRS * N_AXIOMS / (T4_PEAK * share) / 60 for share in sorted(USED)[::-1]
        )
        rows.append(
            [
                ranker,
                f"{shape[2]} x {shape[3]}",
                f"{np.mean(lengths):.0f}",
                f"{each / 1e12:.2f} x 10^12",
                f"{low:.0f} to {high:.0f} minutes",
            ]
        )
    head = ["ranker", "layers x heads", "tokens (mean)", "operations per pair", "on a T4"]
    return markdown_table(head, rows)


def token_lengths(published: Published) -> list[int]:
    """Tokens of each perturbed input: [CLS] document [SEP], or with the query before it."""
    from transformers import AutoTokenizer

    # Both rankers cut words as BERT's uncased vocabulary does, which is also all-MiniLM-L6-v2's.
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder(), model_max_length=512)
    documents = published.pairs["perturbed_text"].tolist()
    if published.ranker == "TAS-B":
        encoded = tokenizer(documents, truncation=True)
    else:
        encoded = tokenizer(published.pairs["query"].tolist(), documents, truncation="only_second")
    return [len(ids) for ids in encoded["input_ids"]]
