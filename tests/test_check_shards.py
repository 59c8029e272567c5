"""The planned memory of one of two ranks that divide a network, against the storages that are alive in real steps."""

import gc
import os
import weakref

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.attention import sdpa
from src.check.memory import plan_memory
from src.model.sharding import MESH, reduce_gradients, shard_network
from src.model.transformer import Transformer
from src.task.linear_cross_entropy import linear_cross_entropy
from tests.ranks import on_ranks
from tests.test_check_memory import config_of, packed

SIZES = {"vocab_size": 600, "width": 128, "num_layers": 6, "num_heads": 4, "num_kv_heads": 2, "feed_forward_width": 352}
ROWS, LENGTH = 2, 32


class Alive(TorchDispatchMode):
    """Adds up all storages at every operator: FSDP takes the memory of its own away and gives it back unseen."""

    def __init__(self):
        super().__init__()
        self.storages, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, output)):
            if isinstance(tensor, Tensor):
                self.meet((tensor._local_tensor if isinstance(tensor, DTensor) else tensor).untyped_storage())
        alive = [reference() for reference in list(self.storages.values())]
        self.peak = max(self.peak, sum(storage.nbytes() for storage in alive if storage is not None))
        return output

    def meet(self, storage):
        key = storage._cdata
        if key not in self.storages:
            self.storages[key] = weakref.ref(storage, lambda _: self.storages.pop(key, None))


def make_network(checkpointing):
    options = {"max_length": LENGTH, "attention": sdpa.attend, "tie_embeddings": False}
    return Transformer(**SIZES, **options, checkpointing=checkpointing)


def peak_of_a_rank(rank, *, checkpointing, precision, reshard, accumulate):
    """Bytes, in the second of two optimizer steps; the first makes the optimizer's state."""
    mesh = init_device_mesh("cpu", (1, 2, 1), mesh_dim_names=MESH)
    half = precision == "bf16-mixed"
    with Alive() as alive:
        network = make_network(checkpointing)
        shard_network(network, mesh, reshard_after_forward=reshard, half=torch.bfloat16 if half else None)
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        ids = torch.randint(0, SIZES["vocab_size"], (ROWS, LENGTH))
        for _ in range(2):
            gc.collect()
            alive.peak = 0
            for number in range(accumulate):
                reduce_gradients(network, now=number == accumulate - 1)
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    hidden = network.hidden(ids, documents=packed(ids)).flatten(0, 1)
                    loss = linear_cross_entropy(hidden, network.output_weight, ids.flatten()).objective
                del hidden
                if number == 0:
                    optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            del loss
    return alive.peak


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its ranks")
@pytest.mark.parametrize(
    ("checkpointing", "precision", "reshard", "accumulate"),
    [
        ("blocks", "32-true", True, 1),
        ("none", "bf16-mixed", True, 1),
        ("none", "bf16-mixed", False, 1),
        ("none", "32-true", True, 2),
    ],
)
def test_the_plan_of_a_shard_is_within_a_tenth_of_what_is_alive(
    tmp_path, checkpointing, precision, reshard, accumulate
):
    """Full shard, ZeRO-2 and whole gradients while accumulating, with 64 tokens, so that weights are most of it."""
    settings = {"checkpointing": checkpointing, "precision": precision, "reshard": reshard, "accumulate": accumulate}
    measured, _ = on_ranks(2, lambda rank: peak_of_a_rank(rank, **settings), tmp_path / "ranks")
    assert isinstance(measured, int), measured
    strategy = {"_target_": "src.strategy.sharded.Sharded", "reshard_after_forward": reshard}
    trainer = {"devices": 2, "accumulate_grad_batches": accumulate, "strategy": strategy}
    config = config_of(rows=ROWS, length=LENGTH, precision=precision)
    config["trainer"] |= trainer
    with torch.device("meta"):
        network = make_network(checkpointing)
    assert plan_memory(config, network, cuda=False).total == pytest.approx(measured, rel=0.1)
