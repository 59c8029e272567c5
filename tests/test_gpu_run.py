"""Sharded checkpoints of tensors on a GPU, in a group that cannot carry objects of the CPU; run by `pytest -m gpu`."""

import pytest
import torch
from torch import distributed
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

from src.run.checkpoint import VerifiedCheckpointIO, load_verified
from src.run.manifest import step_folder
from src.run.sharded import load_sharded, save_sharded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.fixture
def mesh(tmp_path):
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    device = torch.device("cuda", 0)
    distributed.init_process_group("nccl", store=store, rank=0, world_size=1, device_id=device)
    yield init_device_mesh("cuda", (1,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_tensors_of_the_gpu_are_saved_as_they_were_at_the_call_and_read_in_place(tmp_path, mesh, asynchronous):
    """Training overwrites them while the thread writes."""
    values = torch.randn(513, 7, device="cuda", dtype=torch.bfloat16)
    weights = {"w": distribute_tensor(values.clone(), mesh, [Shard(0)]), "n": torch.tensor(3, device="cuda")}
    io = VerifiedCheckpointIO(asynchronous=asynchronous)
    path = step_folder(tmp_path, 1) / "state.ckpt"
    save_sharded({"global_step": 1, "state_dict": weights}, path, io=io)
    weights["w"].to_local().zero_()
    weights["n"].zero_()
    io.teardown()
    loaded = load_sharded(path, {"state_dict": weights})
    assert loaded["state_dict"]["w"] is weights["w"]
    assert weights["w"].to_local().is_cuda
    assert torch.equal(weights["w"].full_tensor(), values)
    assert weights["n"].item() == 3
    whole = load_verified(path)["state_dict"]
    assert not whole["w"].is_cuda
    assert torch.equal(whole["w"], values.cpu())
