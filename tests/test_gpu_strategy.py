"""Strategies on CUDA devices, through the door; skipped elsewhere, run with `pytest -m gpu`."""

import json

import pytest
import torch

from tests.conftest import SMALL_TRANSFORMER, door

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
RUN = ["model=transformer_tiny", "data=demo_text", *SMALL_TRANSFORMER, "data.reader.num_reviews=400"]
RUN += ["trainer=gpu", "trainer.max_epochs=1"]
TWO = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device only")


def losses(folder, *arguments):
    done = door("train", *RUN, *arguments, f"hydra.run.dir={folder}", f"paths.output_dir={folder.parent}", timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())
    return [result[key] for key in ("train/loss", "val/loss", "test/loss")]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_on_one_device_a_strategy_trains_as_no_strategy_does(tmp_path, strategy):
    """Also that flags and objects of the host cross the group, which NCCL alone could not carry."""
    alone = losses(tmp_path / "single", "precision=fp32")
    assert losses(tmp_path / strategy, f"strategy={strategy}", "trainer.devices=1", "precision=fp32") == pytest.approx(
        alone, abs=1e-4
    )


@TWO
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("strategy", ["ddp", "ddp_zero1", "fsdp", "fsdp_zero2", "tensor_parallel"])
def test_two_devices_train_as_one_with_twice_the_rows(tmp_path, strategy, precision):
    rows = 16 if strategy == "tensor_parallel" else 8
    one = losses(tmp_path / "single", f"precision={precision}", "data.batch_size=16")
    two = losses(tmp_path / strategy, f"strategy={strategy}", f"precision={precision}", f"data.batch_size={rows}")
    assert two == pytest.approx(one, abs=1e-4 if precision == "fp32" else 0.05)
