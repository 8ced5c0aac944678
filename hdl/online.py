"""Models for streams on an accelerator that runs: frames in as they come, their results out."""

import numpy as np

from ernn.quantize import IntegerModel
from hdl.compiler import compile_model, on_core
from hdl.simulate import Session, Simulator


def start(model: IntegerModel, simulator: Simulator) -> Session:
    """Start an accelerator with a model's program.

    Args:
        model: a dense layer at its end is left to the host.
        simulator: of a core that runs it.

    Raises:
        ValueError: the core does not run the model.
        SimulationError: the accelerator fails.
    """
    return Session(simulator, compile_model(on_core(model), simulator.cfg))


class AcceleratorStream:
    """One utterance's way through an accelerator.

    Equals :class:`ernn.asr.streaming.IntegerStream` bit for bit.

    Args:
        model: the integer model.
        session: what :func:`start` gives for it. Streams follow one another in it: once one is
            pushed to, those before it have ended.
    """

    def __init__(self, model: IntegerModel, session: Session) -> None:
        self._model, self._session = model, session
        self._host = model.layers[len(session.program.model.layers) :]
        self._goes_on = False

    def push(self, vectors: np.ndarray) -> np.ndarray:
        """Take feature vectors (T, D); return the integer scores (T, C).

        Raises:
            SimulationError: the accelerator fails.
        """
        run = self._session.run([self._model.quantize(vectors)], goes_on=self._goes_on)
        self._goes_on = True
        (scores,) = run.outputs
        for layer in self._host:
            scores = layer.run(scores)
        return scores

    def finish(self) -> np.ndarray:
        """Return nothing: every vector had its scores."""
        return np.zeros((0, self._model.layers[-1].output_size), np.int64)
