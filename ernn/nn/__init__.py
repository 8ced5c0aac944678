"""Drop-in layers for torch.nn's Linear, LSTM and GRU with block-circulant matrices."""

from ernn.nn.gru import GRU
from ernn.nn.linear import CirculantLinear
from ernn.nn.lstm import LSTM

__all__ = ["GRU", "LSTM", "CirculantLinear"]
