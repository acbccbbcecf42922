"""The pieces of the cross-encoder's recipe fit together; what each does is tested slowly."""

import pytest
import torch
import train_cross_encoder as training

from mechir_edu.rankers import embedded

SMALLEST = ["--data", "mechir-edu/mini", "--pseudo", "2", "--held-out", "1", "--eval-every", "1"]
SMALLEST += ["--steps", "1", "--list-size", "2", "--rank", "1", "--device", "cpu"]
SMALLEST += ["--polish", "1", "--polish-pairs", "2", "--sample", "4"]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@torch.no_grad()
def test_training_starts_steps_and_writes_an_adapter_that_loads(threads, tmp_path):
    training.main([*SMALLEST, "--out", str(tmp_path)])
    model, tokenizer = embedded.load(tmp_path / "last.safetensors", sha256=None)
    inputs = tokenizer("why do reefs bleach", "Warm seas bleach them.", return_tensors="pt")
    assert model(**inputs).logits.isfinite().all()
