"""DeepSpeed's ZeRO, for those who have it: the package is looked for when this strategy is chosen, and not before.

It clips the gradient by itself and keeps the optimizer's state in a form of its own. What is saved are the weights, in
float32 and under the names of one process, so evaluation, prediction and init_from read them; a run cannot be resumed.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.strategies.strategy import Strategy
from torch import Tensor

from src.errors import UserError
from src.strategy.group import Timeout, seconds


class DeepSpeed(DeepSpeedStrategy):
    """ZeRO over all devices, which must be GPUs.

    Args:
        stage: 1 divides the optimizer's state, 2 gradients as well, 3 weights as well.
        offload: keep the optimizer's state, and with stage 3 the weights, in the machine's memory, and step there.
        timeout: seconds that a rank waits for the others.
    """

    def __init__(self, *, stage: Literal[1, 2, 3] = 2, offload: bool = False, timeout: Timeout = 1800.0) -> None:
        if find_spec("deepspeed") is None:
            raise UserError(
                "trainer.strategy (DeepSpeed) needs the package deepspeed, which is not installed; install the extra "
                "`deepspeed`, or choose strategy=fsdp, which needs nothing."
            )
        super().__init__(
            stage=stage,
            offload_optimizer=offload,
            offload_parameters=offload and stage == 3,
            timeout=seconds(timeout),
            zero_allow_untested_optimizer=True,
        )
        assert isinstance(self.config, dict)
        # The optimizer of conf/optimizer is the one that steps, also in the machine's memory.
        self.config["zero_force_ds_cpu_optimizer"] = False

    def setup_environment(self) -> None:
        if self.root_device.type != "cuda":
            raise UserError("trainer.strategy (DeepSpeed) trains on CUDA devices only; choose strategy=fsdp.")
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights in float32, on every rank; collective."""
        from deepspeed.utils import safe_get_full_fp32_param

        module = self.lightning_module
        assert module is not None
        state = module.state_dict()
        for name, parameter in module.named_parameters():
            state[name] = safe_get_full_fp32_param(parameter).cpu()
        return state

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Nothing: it stays in DeepSpeed's partitions."""
        return {"state": {}, "param_groups": []}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Rank 0 writes."""
        Strategy.save_checkpoint(self, checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        raise UserError(
            "trainer.strategy (DeepSpeed) keeps no optimizer state in its checkpoints, so the run cannot be resumed; "
            "start a new one with init_from, or choose strategy=fsdp."
        )

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take whole weights after training; collective."""
        from deepspeed import zero

        module = self.lightning_module
        assert module is not None
        if not self.zero_stage_3:
            module.load_state_dict(weights)
            return
        for name, parameter in module.named_parameters():
            with zero.GatheredParameters([parameter], modifier_rank=0):
                parameter.data.copy_(weights[name])
