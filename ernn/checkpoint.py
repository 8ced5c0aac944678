"""Checkpoints: all that the next epoch of a training needs, in one file that is whole or absent."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn, optim

from ernn.compress import ADMM
from ernn.files import atomic

Part = nn.Module | ADMM | None
"""What has tensors to keep, if there is one."""


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


class Checkpoint:
    """The state of a run and the file it is kept in.

    Args:
        path: the file.
        run: the run's identity.
        parts: the model, the averaged one and ADMM, by name.
        optimizer: its moments are kept too.
    """

    def __init__(self, path: Path, run: str, parts: Mapping[str, Part], optimizer: optim.Optimizer):
        self.path, self.run, self.optimizer = path, run, optimizer
        self.parts = {name: part for name, part in parts.items() if part is not None}

    def save(self, epochs: Sequence[Any]) -> None:
        """Write the state after these epochs, of each what JSON can hold."""
        tensors: dict[str, Tensor] = {}
        for part, module in self.parts.items():
            tensors |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        metadata = {"identity": self.run, "epochs": json.dumps(epochs)}
        with atomic(self.path) as new:
            save_file({name: value.contiguous() for name, value in tensors.items()}, new, metadata)

    def restore(self) -> list[Any]:
        """Take up the state in the file; the epochs so far, none if there is no file.

        Raises:
            ValueError: the file is that of another run.
        """
        if not self.path.exists():
            return []
        tensors, metadata = read_tensors(self.path)
        if metadata["identity"] != self.run:
            raise ValueError(
                f"{self.path.parent}: holds a run with other settings, data or initial weights; "
                "remove it or name another folder"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        for name, module in self.parts.items():
            module.load_state_dict(part(f"{name}."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            index, moment = name.split(".")
            state.setdefault(int(index), {})[moment] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        epochs: list[Any] = json.loads(metadata["epochs"])
        return epochs
