"""What only a CUDA device can show; skipped elsewhere, run with `pytest -m gpu`."""

import json

import pytest
import torch

from src.model.bilstm import BiLSTM
from tests.conftest import SMALL, door
from tests.test_task_classifier import make_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


# The two directions share one nn.LSTM, so cuDNN copies its weights together at each call.
@pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk")
@pytest.mark.parametrize("pooling", ["mean", "masked_mean", "max", "mean_max", "last"])
def test_the_network_gives_the_same_logits_and_gradients_as_on_the_cpu(pooling):
    torch.manual_seed(0)
    network = BiLSTM(vocab_size=50, width=16, hidden=16, dropout=0.0, pooling=pooling)
    batch = make_batch(range(16))
    expected = network(batch.ids, batch.lengths)
    expected.sum().backward()
    gradient = network.embedding.weight.grad.clone()
    network.zero_grad()
    moved = network.cuda()
    logits = moved(batch.ids.cuda(), batch.lengths.cuda())
    logits.sum().backward()
    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved.embedding.weight.grad.cpu(), gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_finishes_in_every_precision(tmp_path, precision):
    arguments = [argument for argument in SMALL if not argument.startswith("trainer.accelerator")]
    folder = tmp_path / "run"
    done = door(
        "train",
        *arguments,
        "trainer=gpu",
        f"precision={precision}",
        f"hydra.run.dir={folder}",
        f"paths.output_dir={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "result.json").read_text())["train/loss"] < 1
