"""Which logit of a cross-encoder means *relevant*, and how a score is made of its logits.

A classifier of two labels was trained under a softmax, which sees only the difference of its
logits: whatever moves both alike is no evidence. The score is therefore the relevant logit minus
the other one, which ranks exactly as the softmax, or its logarithm, of the relevant label does.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mechir_edu.rankers.checkpoint.stored import shown

RELEVANT = {"relevant", "true", "yes", "1"}
OTHER = {"irrelevant", "notrelevant", "nonrelevant", "false", "no", "0"}
GENERIC = {"label0": 0, "label1": 1}
# Activations of torch.nn that keep the order of scores, by the number of labels.
ORDERLY = {
    1: {"Identity", "Sigmoid", "Tanh", "LogSigmoid", "Softplus", "Softsign"},
    2: {"Identity", "Softmax", "LogSoftmax"},
}


def score_of(logits: Float[Tensor, "pair label"], relevant: int) -> Float[Tensor, " pair"]:
    """The only logit or, of two, that of the relevant label minus that of the other."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    return logits[:, relevant] - logits[:, 1 - relevant]


def relevant_label(config: Mapping[str, Any]) -> int:
    """Index of the logit that means *relevant*, from what ``config.json`` says.

    The only one; of two, the one that is named so ("relevant", "true", "yes" or "1", and the other
    one its opposite), or the last where the names are the generic LABEL_0 and LABEL_1.

    Raises
    ------
    ValueError
        For more than two labels, for names of two that are not understood, and for labels that were
        not trained to tell one from the other.
    """
    names = _names(config)
    if len(names) > 2:
        raise ValueError(
            f"a cross-encoder needs one or two labels, got {len(names)}: {list(names)}; this "
            "checkpoint is a classifier of another kind"
        )
    read = [_plain(name) for name in names]
    if len(read) == 1 and read[0] not in OTHER - {"0"}:
        return 0
    if len(read) == 2 and config.get("problem_type") in (None, "single_label_classification"):
        if [GENERIC.get(name) for name in read] == [0, 1]:
            return 1
        if read[0] in OTHER and read[1] in RELEVANT:
            return 1
        if read[0] in RELEVANT and read[1] in OTHER:
            return 0
    kind = config.get("problem_type")
    raise ValueError(
        f"the labels {list(names)}{f' of a {kind}' if kind else ''} do not say which one means "
        "relevant. If it is a ranker, name them in id2label of config.json: "
        '{"0": "irrelevant", "1": "relevant"} or the reverse'
    )


def _names(config: Mapping[str, Any]) -> tuple[object, ...]:
    stated, number = config.get("id2label"), config.get("num_labels")
    if stated is None and type(number) in (int, type(None)):
        number = min(2 if number is None else number, 3)  # 2 is the default of transformers
        stated = {i: f"LABEL_{i}" for i in range(number)}
    by_index = {str(key): name for key, name in stated.items()} if isinstance(stated, dict) else {}
    indices = [str(i) for i in range(len(by_index))]
    if not indices or by_index.keys() != set(indices) or number not in (None, len(indices)):
        raise ValueError(
            "id2label of config.json must name the labels 0, 1, ... , one for each of num_labels, "
            f"got {shown(config.get('id2label'))} and num_labels {shown(number)}"
        )
    names = tuple(by_index[i] for i in indices)
    _check_inverse(names, config.get("label2id"))
    return names


def _check_inverse(names: tuple[object, ...], label2id: object) -> None:
    """Refuse a label2id that contradicts the names."""
    if not label2id or not isinstance(label2id, Mapping):
        return
    generic = all(_plain(name) in GENERIC for name in label2id)
    stated = {str(name): index for name, index in label2id.items()}
    if not generic and stated != {str(name): i for i, name in enumerate(names)}:
        raise ValueError(
            f"label2id of config.json, {shown(dict(label2id))}, contradicts its id2label, "
            f"{list(names)}; correct the wrong one"
        )


def _plain(name: object) -> str:
    return "".join(letter for letter in str(name).lower() if letter.isalnum())


def check_activation(stated: object, n_labels: int, where: str) -> None:
    """Refuse an activation behind the logits that could change the order of scores.

    A score here is made of the logits themselves, whatever is applied behind them.

    Raises
    ------
    ValueError
        For any activation but those of torch.nn that keep the order.
    """
    known = ORDERLY.get(n_labels, set())
    name = str(stated).rsplit(".", 1)[-1]
    modules = ("torch.nn", "torch.nn.modules.activation", "torch.nn.modules.linear")
    if stated is not None and not (name in known and str(stated).rpartition(".")[0] in modules):
        raise ValueError(
            f"{where} is {shown(stated)}; needed one of torch.nn that keeps the order of the "
            f"logits: {', '.join(sorted(known))}"
        )
