"""Drop-in layers for torch.nn's Linear, Conv2d, LSTM and GRU with block-circulant matrices."""

from ernn.nn.conv import CirculantConv2d
from ernn.nn.gru import GRU
from ernn.nn.linear import CirculantLinear
from ernn.nn.lstm import LSTM
from ernn.nn.norm import BlockBatchNorm, fold

__all__ = ["GRU", "LSTM", "BlockBatchNorm", "CirculantConv2d", "CirculantLinear", "fold"]
