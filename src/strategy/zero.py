"""ZeRO-1: each rank keeps the optimizer's state of its share of the parameters, and sends the others what it updated.

Rajbhandari et al. 2020, arXiv:1910.02054, P_os.
"""

import warnings
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

with warnings.catch_warnings():
    # The package compiles functions that are not used here in a way that torch calls outdated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch.distributed.optim import ZeroRedundancyOptimizer


class ShardedOptimizer(ZeroRedundancyOptimizer):
    """The optimizer that `make` builds over this rank's share of the parameters.

    Its saved state is that of one process: consolidated on rank 0, with the numbers of all parameters.
    """

    def __init__(self, groups: list[dict[str, Any]], make: Callable[..., Optimizer]) -> None:
        super().__init__(groups, optimizer_class=make)  # type: ignore[arg-type]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Also puts the step counts back where a fused kernel reads them: the parent leaves all of them on the CPU."""
        super().load_state_dict(state_dict)
        for group in self.optim.param_groups:
            for parameter in group["params"]:
                state = self.optim.state[parameter]
                if group.get("fused") and "step" in state:
                    state["step"] = state["step"].to(parameter.device)
