"""Weights, gradients and optimizer state divided among the ranks: FSDP2, hybrid sharding and tensor parallelism.

The ranks form a mesh, replicate x shard x tensor: `shard` ranks hold one copy of the network between them, as do those
of each other replica; `tensor` ranks split the matrices of a block and read the same rows.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.optim import Optimizer

from src.errors import UserError
from src.model.sharding import MESH, Sizes, is_sharded, reduce_gradients, shard_network
from src.run.sharded import load_sharded, save_sharded
from src.strategy.group import Timeout, backend_for, seconds
from src.strategy.state import fill_optimizer, load_optimizer, network_state, optimizer_state, take_rows

Positive = Annotated[int, ">= 1"]


class Sharded(ModelParallelStrategy):
    """The plan of src.model.sharding over all ranks.

    Args:
        shard_size: ranks that hold one copy of the weights between them; None = all that read different rows (FSDP),
            fewer = several copies (HSDP).
        tensor_parallel_size: ranks that split matrices and read the same rows.
        reshard_after_forward: give a block's weights back between its forward and backward (ZeRO-3), or keep them.
        half_gather: with precision=bf16 the weights of blocks travel in bfloat16; gradients in float32 either way.
        accumulate: with several micro-batches per step, "whole" gradients are kept on every rank and divided once;
            "sharded" divides them after every micro-batch, which takes the memory of a shard only.
        timeout: seconds that a rank waits for the others.
    """

    def __init__(
        self,
        *,
        shard_size: Positive | None = None,
        tensor_parallel_size: Positive = 1,
        reshard_after_forward: bool = True,
        half_gather: bool = True,
        accumulate: Literal["whole", "sharded"] = "whole",
        timeout: Timeout = 1800.0,
    ) -> None:
        super().__init__(tensor_parallel_size=tensor_parallel_size, timeout=seconds(timeout))
        self.shard_size, self.tensor_size = shard_size, tensor_parallel_size
        self.reshard_after_forward, self.half_gather, self.accumulate = reshard_after_forward, half_gather, accumulate

    def _get_process_group_backend(self) -> str:
        return backend_for(self.root_device)

    def setup_environment(self) -> None:
        """Join the group and lay the ranks out as a mesh.

        Raises:
            UserError: the ranks cannot be divided as the sizes say.
        """
        self._setup_distributed()
        sizes = mesh_sizes(self.world_size, shard=self.shard_size, tensor=self.tensor_size)
        self._device_mesh = init_device_mesh(self.root_device.type, tuple(sizes), mesh_dim_names=MESH)
        assert self.lightning_module is not None
        self.lightning_module._device_mesh = self._device_mesh

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Ranks that split matrices read the same rows; they are neighbours."""
        return {"num_replicas": self.world_size // self.tensor_size, "rank": self.global_rank // self.tensor_size}

    def shard(self, network: nn.Module) -> None:
        """Divide the network, unless that was done; before the optimizer is made."""
        if is_sharded(network):
            return
        mixed = self.precision_plugin.precision == "bf16-mixed" and self.half_gather
        half = torch.bfloat16 if mixed else None
        shard_network(network, self.device_mesh, reshard_after_forward=self.reshard_after_forward, half=half)

    @contextmanager
    def block_backward_sync(self) -> Generator[None, None, None]:
        """Around every micro-batch of a step but the last."""
        later = self.accumulate == "whole"
        reduce_gradients(self.network, now=not later)
        try:
            yield
        finally:
            reduce_gradients(self.network, now=True)

    @property
    def network(self) -> nn.Module:
        assert self.lightning_module is not None
        return self.lightning_module.network  # type: ignore[return-value]

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """This rank's part of every weight, as DTensors under the names and in the order of one process; collective."""
        assert self.lightning_module is not None
        return network_state(self.lightning_module, tensor=self.tensor_size)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The same of the optimizer, by the names of the parameters; collective."""
        assert self.lightning_module is not None
        return optimizer_state(self.lightning_module, optimizer, tensor=self.tensor_size)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Every rank writes its part."""
        save_sharded(checkpoint, Path(filepath), io=self.checkpoint_io, storage_options=storage_options)  # type: ignore[arg-type]

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read weights and, when fitting, the optimizer's state in place, of any number of ranks; returns the rest."""
        module = self.lightning_module
        assert module is not None
        state: dict[str, Any] = {"state_dict": self.lightning_module_state_dict()}
        fitting = module.trainer.state.fn == TrainerFn.FITTING
        if fitting:
            for optimizer in self.optimizers:
                fill_optimizer(optimizer)
            state["optimizer_states"] = [self.optimizer_state(optimizer) for optimizer in self.optimizers]
        loaded = load_sharded(Path(checkpoint_path), state)
        take_rows(module, state["state_dict"], tensor=self.tensor_size)
        if fitting:
            for optimizer, own, saved in zip(
                self.optimizers, state["optimizer_states"], loaded["optimizer_states"], strict=True
            ):
                load_optimizer(module, optimizer, own, saved["param_groups"], tensor=self.tensor_size)
        return loaded


def mesh_sizes(world: int, *, shard: int | None, tensor: int) -> Sizes:
    """How `world` ranks are laid out.

    Raises:
        UserError: a size does not divide what it has to.
    """
    if world % tensor:
        raise UserError(
            f"trainer.strategy.tensor_parallel_size ({tensor}) must divide the number of devices ({world}); change it "
            "or trainer.devices."
        )
    data = world // tensor
    shard = data if shard is None else shard
    if data % shard:
        raise UserError(
            f"trainer.strategy.shard_size ({shard}) must divide the {data} devices that read different rows; change "
            "it or trainer.devices."
        )
    return Sizes(replicate=data // shard, shard=shard, tensor=tensor)
