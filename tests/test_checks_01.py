import pytest
import torch

from mechir_edu.checks import checks_01
from mechir_edu.checks.checks_01 import check_effect_of_head, check_head_outputs
from mechir_edu.models import Cat


def head_outputs(z, W_O, b_O):
    return torch.einsum("phd,hdm->hpm", z, W_O)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda z, W, b: head_outputs(z, W, b) + b, "added b_O to every head"),
        (lambda z, W, b: head_outputs(z, W, b) + b / 3, "spread b_O"),
        (lambda z, W, b: head_outputs(z, W, b).sum(0), "summed over the heads"),
        (lambda z, W, b: head_outputs(z, W, b).sum(0) + b, "attn_out itself"),
        (lambda z, W, b: torch.einsum("phd,hdm->phm", z, W), "heads come first"),
        (lambda z, W, b: None, "Not attempted yet"),
    ],
)
def test_each_mistake_about_a_heads_output_is_named(capsys, wrong, sentence):
    check_head_outputs(wrong)
    assert sentence in capsys.readouterr().out


def test_the_outputs_of_the_heads_alone_are_right():
    check_head_outputs(head_outputs, strict=True)


@pytest.fixture(scope="module")
def planted():
    return Cat("planted", verify=False, device="cpu")


@pytest.fixture(autouse=True)
def one_ranker(monkeypatch, planted):
    monkeypatch.setattr(checks_01, "Cat", lambda *args, **options: planted)


def answer(edit, *, hands_back=True, sign=1, off=1):
    """Make an effect_of_head that edits z in some way and reports in some way."""

    def effect_of_head(ranker, query, text, layer, head):
        def hook(z, hook):
            z = z.clone()
            edit(z, head)
            return z if hands_back else None

        hooks = [(f"blocks.{layer}.attn.hook_z", hook)]
        without = ranker.run_with_hooks(query, text, fwd_hooks=hooks)
        return sign * (without - off * ranker(query, text)).item()

    return effect_of_head


def silence(z, head):
    z[:, :, head] = 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (answer(silence, hands_back=False), "nothing changed"),
        (answer(silence, sign=-1), "sign is turned round"),
        (answer(silence, off=0), "take off the score with it"),
        (answer(lambda z, head: z.zero_()), "all heads of the layer"),
        (answer(lambda z, head: z[:, head].zero_()), "a position, not a head"),
        (lambda *arguments: None, "Not attempted yet"),
    ],
)
def test_each_mistake_about_silencing_a_head_is_named(capsys, wrong, sentence):
    check_effect_of_head(wrong)
    assert sentence in capsys.readouterr().out


def test_silencing_one_head_at_all_positions_is_right():
    check_effect_of_head(answer(silence), strict=True)
