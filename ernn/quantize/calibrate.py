"""Ranges of everything that gets a format, measured on training data."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ernn.nn import GRU, LSTM


@dataclass
class Extent:
    """What is kept of a quantity: its largest magnitude and its mean square."""

    largest: float = 0.0
    total: float = 0.0
    count: int = 0

    def observe(self, values: Tensor) -> None:
        """Take in values of any shape."""
        self.largest = max(self.largest, float(values.abs().max()))
        self.total += float(values.double().square().sum())
        self.count += values.numel()

    @property
    def power(self) -> float:
        """Mean square."""
        return self.total / self.count


class Ranges:
    """Extents of a layer's direction: of x, of y, of sums before an activation, and of c."""

    def __init__(self) -> None:
        self.input = Extent()
        self.output = Extent()
        self.preactivation = Extent()
        self.cell = Extent()


@torch.no_grad()
def calibrate(module: LSTM | GRU, utterances: Iterable[Tensor]) -> list[Ranges]:
    """Run ``module`` frame by frame and measure.

    Args:
        module: in one direction or both.
        utterances: features, (time, input_size) each.

    Returns:
        The ranges of each layer; of a bidirectional one those of each layer's two directions.

    Raises:
        ValueError: there is no utterance.
    """
    weights = module.dense_parameters()
    suffixes = [f"_l{n}{d}" for n in range(module.num_layers) for d in module.directions]
    directions = {
        suffix: {n.removesuffix(suffix): w for n, w in weights.items() if n.endswith(suffix)}
        for suffix in suffixes
    }
    ranges = {suffix: Ranges() for suffix in suffixes}
    empty = True
    for x in utterances:
        empty = False
        for n in range(module.num_layers):
            y = []
            for direction in module.directions:
                suffix = f"_l{n}{direction}"
                turn = (lambda t: t.flip(0)) if direction else (lambda t: t)
                y.append(turn(_measure(module, turn(x), directions[suffix], ranges[suffix])))
            x = torch.cat(y, dim=1)
    if empty:
        raise ValueError("no utterance to calibrate on; at least one is needed")
    return list(ranges.values())


def _measure(module: LSTM | GRU, x: Tensor, w: dict[str, Tensor], ranges: Ranges) -> Tensor:
    """Run one direction of a layer on one utterance x (time, in): return y (time, out)."""
    from_input = functional.linear(x, w["weight_ih"], w.get("bias_ih"))  # (time, gates * hidden)
    state = tuple(x.new_zeros(1, size) for size in module.state_sizes)
    states = [state]
    for frame in from_input.unsqueeze(1).unbind():
        state = module.step(frame, state, w)
        states.append(state)
    y = torch.cat([s[0] for s in states])  # (time + 1, out), zeros first
    from_state = functional.linear(y[:-1], w["weight_hh"], w.get("bias_hh"))
    ranges.input.observe(x)
    ranges.output.observe(y[1:])
    ranges.preactivation.observe(from_input + from_state)
    if isinstance(module, LSTM):
        ranges.cell.observe(torch.cat([s[1] for s in states[1:]]))
    else:  # a GRU forms the two sums of the candidate apart, and has no cell but its output
        ranges.preactivation.observe(from_input)
        ranges.preactivation.observe(from_state)
        ranges.cell.observe(y[1:])
    return y[1:]
