"""The acoustic model: recurrent layers and a linear layer, posteriors of the phones frame by frame.

Class 1 + i is phone i. Class 0 is no phone: the blank of CTC (Graves et al., *Connectionist
Temporal Classification*, ICML 2006), or what lies outside every phone where frames are labelled.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ernn.checkpoint import read_tensors
from ernn.files import atomic
from ernn.nn import GRU, LSTM

BLANK = 0


@dataclass(frozen=True)
class ModelConfig:
    """Shape of an acoustic model.

    Raises:
        ValueError: if a peephole or a projection is asked of a GRU, ``cell`` is neither name, or
            ``dropout`` is not from 0 to 1.
    """

    input_size: int  # values a frame: mel bands times stacked frames
    num_phones: int = 39  # classes besides the blank
    cell: Literal["lstm", "gru"] = "lstm"
    hidden_size: int = 256
    num_layers: int = 2
    bidirectional: bool = False
    block_size: int | Mapping[str, int] = 1  # of the recurrent layers; 1 is dense
    peephole: bool = False  # LSTM alone
    proj_size: int = 0  # LSTM alone; 0 is none
    reset_after: bool = True  # GRU alone; True is torch.nn.GRU
    activation: Literal["exact", "pwl"] = "exact"
    dropout: float = 0.05  # after every recurrent layer

    def __post_init__(self) -> None:
        if self.cell not in ("lstm", "gru"):
            raise ValueError(f"cell is {self.cell!r}: it must be 'lstm' or 'gru'")
        if self.cell == "gru" and (self.peephole or self.proj_size):
            raise ValueError("peephole and proj_size belong to the LSTM; the GRU has neither")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout is {self.dropout}; it must be from 0 to 1")


class AcousticModel(nn.Module):
    """Features to log posteriors of the blank and the phones.

    Args:
        config: the shape; kept as ``model.config``.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        sizes = config.input_size, config.hidden_size, config.num_layers
        options: dict[str, Any] = {
            "block_size": config.block_size,
            "bidirectional": config.bidirectional,
            "activation": config.activation,
            "dropout": config.dropout if config.num_layers > 1 else 0.0,
        }
        self.recurrent: LSTM | GRU
        if config.cell == "lstm":
            self.recurrent = LSTM(
                *sizes, proj_size=config.proj_size, peephole=config.peephole, **options
            )
        else:
            self.recurrent = GRU(*sizes, reset_after=config.reset_after, **options)
        width = (config.proj_size or config.hidden_size) * (2 if config.bidirectional else 1)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(width, config.num_phones + 1)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log posteriors, frame by frame.

        Args:
            features: (T, B, input_size), padded at the end.
            lengths: (B,) frames of each utterance, all T if not given. What comes out before an
                utterance's length does not depend on its padding.

        Returns:
            (T, B, num_phones + 1) log posteriors; past an utterance's length they mean nothing.
        """
        return self.classify(self.encode(features, lengths))

    def encode(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Outputs of the last recurrent layer, (T, B, width); arguments as of :meth:`forward`."""
        return self.recurrent(features, lengths=lengths)[0]

    def classify(self, hidden: Tensor) -> Tensor:
        """Log posteriors of what :meth:`encode` returns, in the precision of the weights."""
        scores = self.output(self.dropout(hidden))  # (T, B, C), of less precision under autocast
        return scores.log_softmax(dim=-1, dtype=self.output.weight.dtype)

    def compress(self, block_size: int | Mapping[str, int]) -> Self:
        """A new model whose recurrent layers are the nearest block-circulant ones to this one's."""
        compressed = type(self)(replace(self.config, block_size=block_size))
        compressed.recurrent = self.recurrent.from_dense(self.recurrent, block_size)
        compressed.output.load_state_dict(self.output.state_dict())
        return compressed.to(self.device)

    def with_dropout(self, dropout: float) -> Self:
        """A new model of the same weights that is trained with another dropout.

        Raises:
            ValueError: if it is not from 0 to 1.
        """
        changed = type(self)(replace(self.config, dropout=dropout)).to(self.output.weight)
        changed.load_state_dict(self.state_dict())
        return changed

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output.weight.device

    @property
    def parameter_count(self) -> int:
        """Numbers stored in the whole model."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def recurrent_parameters(self) -> int:
        """Numbers stored in the recurrent layers."""
        return sum(parameter.numel() for parameter in self.recurrent.parameters())

    def save(self, path: Path | str) -> None:
        """Write weights and configuration (JSON in the header) to one safetensors file."""
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        with atomic(path) as new:
            save_file(tensors, new, {"config": json.dumps(asdict(self.config))})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not a saved acoustic model.
        """
        try:
            weights, metadata = read_tensors(path)
            model = cls(ModelConfig(**json.loads(metadata["config"])))
            model.load_state_dict(weights)
        except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path}: not a saved acoustic model") from error
        return model
