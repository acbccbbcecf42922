"""Training multiplies in bfloat16 where the processor has it, and in float32 elsewhere."""

import pytest
import torch
from distillation.low_rank import merge_all
from distillation.precision import autocast, working_dtype
from distillation.student import load_student, score_texts

from mechir_edu.rankers import embedded

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
TEXTS = [("coral bleaching", "Warm seas bleach coral."), ("coral bleaching", "Trains run late.")]


def pretend(monkeypatch, **capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_a_processor_with_bfloat16_uses_it(monkeypatch, name):
    pretend(monkeypatch, **{"avx2": True, name: True})
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == working_dtype(CPU) == torch.bfloat16


def test_a_processor_that_would_imitate_bfloat16_keeps_to_float32(monkeypatch):
    pretend(monkeypatch, avx2=True, avx512_bf16=False)
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == working_dtype(CPU) == torch.float32


def test_the_student_scores_alike_in_both_precisions(monkeypatch):
    student, tokenizer = load_student(embedded.ADAPTER, "cpu"), embedded.load_tokenizer()
    scores = []
    for has_bfloat16 in (True, False):
        pretend(monkeypatch, avx512_bf16=has_bfloat16)
        merge_all(student)
        with torch.no_grad():
            scores.append(score_texts(student, tokenizer, TEXTS))
    rough, exact = scores
    assert 0 < float((rough - exact).abs().max()) < 0.1 * float(exact[0] - exact[1])
