"""Gradual unfreezing: a pre-trained network learns from its top down, one depth after the other."""

from torch import nn

from src.optimizer.groups import with_depths


class Unfreezing:
    """Opens one more depth every `every` epochs, the head first (Howard & Ruder 2018, arXiv:1801.06146, section 3.3).

    Frozen parameters have no gradient, so the optimizer passes over them. every: 0 trains all of them from the start.

    Raises:
        UserError: `every` is not 0 and the network has no depths.
    """

    def __init__(self, network: nn.Module, *, every: float) -> None:
        self.depths = []
        if every:
            decoder = with_depths(network, key="task.unfreeze_every", value=every)
            self.depths = [(parameter, decoder.depth_of(name)) for name, parameter in decoder.named_parameters()]
        self.every = every

    def update(self, epochs: float) -> None:
        """Open what is to be trained when that many epochs are over."""
        top = max((depth for _, depth in self.depths), default=0)
        for parameter, depth in self.depths:
            parameter.requires_grad_(depth >= top - int(epochs / self.every))

    def end(self) -> None:
        """Open everything."""
        for parameter, _ in self.depths:
            parameter.requires_grad_(True)
