"""Muon for the matrices of the blocks, AdamW for everything else, as one optimizer with one learning rate."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from src.errors import UserError

NotNegative = Annotated[float, ">= 0"]
Share = Annotated[float, ">= 0, < 1"]


class MuonAdamW(Optimizer):
    """Torch's Muon and torch's AdamW over one list of parameter groups and one state.

    Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by its nearest
    orthogonal matrix. Its step is scaled to the size of AdamW's, 0.2 sqrt(max(rows, columns)) lr (Liu et al. 2025,
    arXiv:2502.16982, section 2.2), so that one rate and one weight decay fit both.

    A group's matrices go to Muon unless it says "in_blocks": False; a matrix of a vocabulary is a table of rows that
    have no directions in common. A schedule changes `param_groups`, and those are the two optimizers' own.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: NotNegative = 1e-3,
        weight_decay: NotNegative = 0.1,
        momentum: Share = 0.95,
        nesterov: bool = True,
        ns_steps: Annotated[int, ">= 1, < 100"] = 5,
        betas: tuple[Share, Share] = (0.9, 0.95),
        eps: NotNegative = 1e-8,
        fused: bool = True,
    ) -> None:
        """momentum, nesterov, ns_steps (of the Newton-Schulz iteration) are Muon's; betas, eps, fused are AdamW's.

        Raises:
            UserError: there is no matrix for Muon.
        """
        matrices, others = split(params)
        if not matrices:
            raise UserError("optimizer=muon finds no matrix that it could train; choose optimizer=adamw.")
        settings: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
        for_muon: dict[str, Any] = {
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "adjust_lr_fn": "match_rms_adamw",
        }
        self.parts: list[Optimizer] = [Muon(matrices, **for_muon, **settings)]
        if others:
            # First, since the first group's rate is the one that is logged, and the head learns at the full rate.
            self.parts.insert(0, AdamW(others, betas=betas, eps=eps, fused=fused, **settings))
        super().__init__([*others, *matrices], {})
        self._share()

    def _share(self) -> None:
        """Let both optimizers work on the groups and the state of this one."""
        done = 0
        for part in self.parts:
            part.param_groups = self.param_groups[done : done + len(part.param_groups)]
            part.state = self.state
            done += len(part.param_groups)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over groups and state, as every optimizer does, by making new ones."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of both; `closure` is called first, with gradients on."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss


def split(params: Iterable[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Groups for Muon and groups for AdamW, each with the settings of the group it came from."""
    groups = list(params)
    if not isinstance(groups[0], dict):
        groups = [{"params": groups}]
    matrices, others = [], []
    for group in groups:
        chosen: list[Tensor] = [p for p in group["params"] if p.ndim == 2 and group.get("in_blocks", True)]
        rest = [p for p in group["params"] if not any(p is matrix for matrix in chosen)]
        matrices += [{**group, "params": chosen}] if chosen else []
        others += [{**group, "params": rest}] if rest else []
    return matrices, others
