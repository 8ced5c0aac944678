"""The bundle: what crosses from PyTorch to hardware.

A folder of two files. ``bundle.json`` lists the layers with their sizes and formats (a format is
[word length, fraction length]); ``weights.safetensors`` holds their integers as int32, named
``layers.N.FIELD``. Fields are those of the classes in :mod:`ernn.quantize`.

A model for whole utterances has ``stages`` instead of layers: lists of the layers of its one or two
models, whose integers are named ``stages.S.M.layers.N.FIELD``.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ernn.files import atomic
from ernn.fixed import CellFormats, FixedPoint
from ernn.quantize.feedforward import Geometry, IntegerConv2d, IntegerLinear, IntegerPool
from ernn.quantize.integer import (
    IntegerGRU,
    IntegerLayer,
    IntegerLSTM,
    IntegerModel,
    LayerFormats,
    OfflineModel,
)

FORMAT = "ernn-bundle"
VERSION = 1
LAYERS: dict[str, type[IntegerLayer]] = {
    layer.kind: layer
    for layer in (IntegerLSTM, IntegerGRU, IntegerLinear, IntegerConv2d, IntegerPool)
}


def save(model: IntegerModel | OfflineModel, folder: Path | str) -> None:
    """Write ``model`` to ``folder``, which is replaced as a whole."""
    tensors: dict[str, np.ndarray] = {}
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    if isinstance(model, IntegerModel):
        content["layers"] = _layers(model, "", tensors)
    else:
        content["stages"] = [
            [_layers(part, f"stages.{n}.{m}.", tensors) for m, part in enumerate(stage)]
            for n, stage in enumerate(model.stages)
        ]
    with atomic(folder) as new:
        new.mkdir()
        (new / "bundle.json").write_text(json.dumps(content, indent=2) + "\n")
        save_file(tensors, new / "weights.safetensors")


def load(folder: Path | str) -> IntegerModel:
    """Read a model for streams back, equal to the one that was saved.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what ``save`` writes: not JSON, another version, a field missing,
            a tensor missing, of a wrong shape or with integers outside their format; or it is a
            model for whole utterances.
    """
    model = _load(Path(folder))
    if isinstance(model, OfflineModel):
        raise ValueError(f"{folder}: is for whole utterances (bidirectional); a stream has no end")
    return model


def load_offline(folder: Path | str) -> OfflineModel:
    """Read a model for whole utterances back; as :func:`load`."""
    model = _load(Path(folder))
    if isinstance(model, IntegerModel):
        raise ValueError(f"{folder}: is for streams; one for whole utterances is wanted")
    return model


def _load(folder: Path) -> IntegerModel | OfflineModel:
    for name in ("bundle.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: no {name}; a bundle is a folder that has one")
    try:
        content = json.loads((folder / "bundle.json").read_text())
        tensors = load_file(folder / "weights.safetensors")
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(
                f"{content['format']} {content['version']}; this reads {FORMAT} {VERSION}"
            )
        if "stages" not in content:
            return _model(content["layers"], "", tensors)
        return OfflineModel(
            tuple(
                tuple(_model(part, f"stages.{n}.{m}.", tensors) for m, part in enumerate(stage))
                for n, stage in enumerate(content["stages"])
            )
        )
    except KeyError as error:
        raise ValueError(f"{folder}: no {error}") from error
    except (ValueError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: {error}") from error


def _layers(
    model: IntegerModel, prefix: str, tensors: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Describe the layers; add their integers to ``tensors``."""
    layers = []
    for n, layer in enumerate(model.layers):
        description: dict[str, Any] = {"kind": layer.kind}
        for field in dataclasses.fields(layer):
            value = getattr(layer, field.name)
            if isinstance(value, np.ndarray):
                tensors[f"{prefix}layers.{n}.{field.name}"] = np.ascontiguousarray(value, np.int32)
            else:
                description[field.name] = _describe(value)
        layers.append(description)
    return layers


def _model(
    layers: list[dict[str, Any]], prefix: str, tensors: dict[str, np.ndarray]
) -> IntegerModel:
    return IntegerModel(
        tuple(_layer(f"{prefix}layers.{n}", layer, tensors) for n, layer in enumerate(layers))
    )


def _describe(value: Any) -> Any:
    if isinstance(value, FixedPoint):
        return [value.word_length, value.fraction_length]
    if dataclasses.is_dataclass(value):
        return {f.name: _describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _layer(name: str, description: dict[str, Any], tensors: dict[str, np.ndarray]) -> IntegerLayer:
    description = dict(description)
    kind = description.pop("kind")
    if kind not in LAYERS:
        raise ValueError(f"{name} is a {kind!r}; known are {', '.join(LAYERS)}")
    values: dict[str, Any] = {}
    for key, value in description.items():
        if key == "formats":
            values[key] = LayerFormats(
                **_formats(value, cell=CellFormats(**_formats(value["cell"])))
            )
        elif key == "geometry":
            values[key] = Geometry(**{name: tuple(pair) for name, pair in value.items()})
        else:
            values[key] = _value(value)
    for field in dataclasses.fields(LAYERS[kind]):
        if field.name not in values and (tensor := tensors.get(f"{name}.{field.name}")) is not None:
            values[field.name] = tensor.astype(np.int64)
    layer = LAYERS[kind](**values)
    for key, (shape, fmt) in layer.tensors().items():
        tensor = getattr(layer, key)
        if tensor.shape != shape:
            raise ValueError(f"{name}.{key} is {tensor.shape}; it must be {shape}")
        if not np.array_equal(tensor, fmt.saturate(tensor)):
            raise ValueError(
                f"{name}.{key} spans {tensor.min()} to {tensor.max()}; "
                f"{fmt} holds {fmt.lowest} to {fmt.highest}"
            )
    return layer


def _value(described: Any) -> Any:
    return FixedPoint(*described) if isinstance(described, list) else described


def _formats(description: dict[str, Any], **done: Any) -> dict[str, Any]:
    rest = {name: value for name, value in description.items() if name not in done}
    return {name: _value(value) for name, value in rest.items()} | done
