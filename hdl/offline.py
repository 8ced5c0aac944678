"""Bidirectional models on an accelerator: each direction of a layer is a program of its own.

A stream has no future, so a direction takes a whole utterance, the reverse one from its end; the
host puts the results side by side and streams them through the next layer's programs. One core runs
them all: programs follow one another through its configuration port.
"""

import numpy as np

from ernn.fixed import Integers
from ernn.quantize import IntegerModel, OfflineModel
from hdl import compiler
from hdl.compiler import compile_model, on_core, on_host
from hdl.config import CoreConfig, covering
from hdl.simulate import Simulator


def stages_of(model: IntegerModel | OfflineModel) -> OfflineModel:
    """Cut a model into programs; one for streams is the core's part and then the host's."""
    if isinstance(model, OfflineModel):
        return model
    network = on_core(model)
    host = IntegerModel(model.layers[len(network.layers) :])
    return OfflineModel(((network,), (host,)))


def on_accelerator(model: OfflineModel) -> list[IntegerModel]:
    """The models that are programs of the accelerator, in the order in which a frame takes them."""
    return [part for stage in model.stages for part in stage if not on_host(part)]


def configure(model: OfflineModel, n_pe: int, *, slices: int = 1, fold: int = 1) -> CoreConfig:
    """The smallest core of ``n_pe`` PEs that runs every program of a model.

    Args:
        model: what :func:`ernn.quantize.convert_offline` gives; a dense layer at its end is left to
            the host.
        n_pe: R.
        slices: W.
        fold: F.

    Raises:
        ValueError: no core runs the model, or it has but dense layers, which are the host's.
    """
    models = on_accelerator(model)
    if not models:
        raise ValueError("the model has but dense layers, which are the host's: no core is needed")
    return covering([compiler.configure(m, n_pe, slices=slices, fold=fold) for m in models])


def run(model: OfflineModel, simulator: Simulator, frames: Integers) -> Integers:
    """Run utterances through the accelerator, program after program.

    Args:
        model: the model.
        simulator: of a core that runs it.
        frames: (time, batch, input_size), integers in the model's input format.

    Returns:
        (time, batch, output_size), equal to ``model.run(frames)``.

    Raises:
        ValueError: the core does not run the model.
        SimulationError: the accelerator fails.
    """

    def run_part(part: IntegerModel, x: Integers) -> Integers:
        if on_host(part):
            return part.run(x)
        program = compile_model(part, simulator.cfg)
        return np.stack(simulator.run(program, list(x.swapaxes(0, 1))).outputs, axis=1)

    return model.run(frames, run_part)
