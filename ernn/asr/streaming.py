"""Phones while the audio comes in: features, a recurrent model that keeps its state, greedy CTC.

    recogniser = Recogniser.load(folder)
    for phone in transcribe(recogniser, blocks_of_samples, float_stream(recogniser)):
        print(phone)

A *stream* is one utterance's way through a model: feature vectors (T, D) go in, scores (T, C) come
out, argmax of which is the best path. What it keeps does not grow with the utterance, but that of a
bidirectional model, which has to wait for the end.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from data_prep.cmvn import FIRST, RunningCmvn
from data_prep.features import OnlineFeatures
from ernn.asr.decoding import Segment
from ernn.asr.model import BLANK
from ernn.asr.recogniser import Recogniser
from ernn.nn.recurrent import Recurrent, State
from ernn.quantize import IntegerModel, OfflineModel


class Phone(NamedTuple):
    """A phone and when it was heard.

    Its time is that of its run on the best path, from the first frame's begin to the last one's
    end. CTC is peaky: a run is a frame or two long, somewhere within or shortly after the phone.
    """

    symbol: str
    start: float  # s
    end: float  # s


class Stream(Protocol):
    """One utterance's way through a model."""

    def push(self, vectors: np.ndarray) -> np.ndarray:
        """Take feature vectors (T, D) float32; return the scores (T', C) that are there."""

    def finish(self) -> np.ndarray:
        """End the utterance; return the last scores (T', C)."""


def transcribe(
    recogniser: Recogniser, blocks: Iterable[np.ndarray], stream: Stream, first: int = FIRST
) -> Iterator[Phone]:
    """Yield the phones of one utterance of any length, each as soon as its run has ended.

    That is known a vector later. A vector ends ``stack`` frames after its begin, so a phone comes
    as much audio after its end. Those of the first frames of an utterance, a second if ``first`` is
    not given, come together, for normalisation begins with them.

    Args:
        recogniser: what the stream computes, with its features and phones.
        blocks: the samples in order, (n,) float32 in the range of 16-bit integers.
        stream: a new one.
        first: frames that are normalised together (:class:`data_prep.cmvn.RunningCmvn`).

    Raises:
        ValueError: there are fewer samples than a vector takes.
    """
    config = recogniser.features
    statistics = recogniser.mean, recogniser.deviation
    cmvn = RunningCmvn(*statistics, config.level, first) if config.cmvn else None
    online, runs = OnlineFeatures(config, cmvn), Runs()
    step = config.subsample * config.hop / config.sample_rate  # s from vector to vector

    def phones(found: Iterable[Segment]) -> Iterator[Phone]:
        for run in found:
            yield Phone(recogniser.phones[run.label - 1], run.start * step, run.end * step)

    count = 0
    for samples in blocks:
        count += len(samples)
        if len(vectors := online.push(samples)):
            yield from phones(runs.push(stream.push(vectors)))
    if len(vectors := online.finish()):
        yield from phones(runs.push(stream.push(vectors)))
    needed = config.window + (config.stack - 1) * config.hop
    if count < needed:
        lengths = count / config.sample_rate, needed / config.sample_rate
        raise ValueError("too short: {:.3f} s, {:.3f} s are needed".format(*lengths))
    yield from phones(runs.push(stream.finish()))
    yield from phones(runs.finish())


class Runs:
    """The segments that :func:`ernn.asr.greedy` finds, while the scores come in."""

    def __init__(self) -> None:
        self._frame = 0
        self._run = Segment(BLANK, 0, 0)  # that goes on

    def push(self, scores: np.ndarray) -> Iterator[Segment]:
        """Take scores (T, C) in any format; yield the runs that they end."""
        for label in scores.argmax(axis=-1).tolist():
            if label != self._run.label:
                yield from self.finish()
                self._run = Segment(label, self._frame, self._frame)
            self._frame += 1

    def finish(self) -> Iterator[Segment]:
        """Yield the run that goes on."""
        if self._run.label != BLANK:
            yield self._run._replace(end=self._frame)


# ------------------------------------------------------------------------------------------ streams


def float_stream(recogniser: Recogniser) -> Stream:
    """A stream through the acoustic model."""
    model = recogniser.model
    if not model.config.bidirectional:
        return FloatStream(model.recurrent, model.output)

    def run(vectors: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(vectors)[:, None])[:, 0].numpy()

    return WholeUtterance(run)


def integer_stream(recogniser: Recogniser) -> Stream:
    """A stream through the integer model.

    Raises:
        ValueError: the recogniser has none.
    """
    model = integer_model(recogniser)
    if isinstance(model, IntegerModel):
        return IntegerStream(model)
    return WholeUtterance(lambda vectors: model.run(model.quantize(vectors)[:, None])[:, 0])


def integer_model(recogniser: Recogniser) -> IntegerModel | OfflineModel:
    """The integer model of a recogniser.

    Raises:
        ValueError: it has none.
    """
    if recogniser.integer is None:
        raise ValueError("the recogniser has no integer model (no folder `bundle`): only float")
    return recogniser.integer


class FloatStream:
    """Through recurrent layers of one direction and a linear layer; scores are logits.

    The vectors are run one by one: the results of torch's kernels depend in their last bits on how
    many frames they are given, but those of a stream do not depend on how it is cut.
    """

    def __init__(self, recurrent: Recurrent, output: torch.nn.Linear) -> None:
        self._recurrent, self._output = recurrent.to_dense(), output  # expanded once
        self._state: State | None = None

    @torch.inference_mode()
    def push(self, vectors: np.ndarray) -> np.ndarray:
        """Take vectors (T, D); return the scores (T, C)."""
        return np.concatenate([self._step(x) for x in torch.from_numpy(vectors)[:, None, None]])

    def _step(self, x: Tensor) -> np.ndarray:
        """Take a vector (1, 1, D); return its scores (1, C)."""
        hidden, self._state = self._recurrent.run(x, self._state)
        return self._output(hidden)[0].numpy()

    def finish(self) -> np.ndarray:
        """Return nothing: every vector had its scores."""
        return np.zeros((0, self._output.out_features), np.float32)


class IntegerStream:
    """Through an integer model; equals its ``run`` however the vectors are cut."""

    def __init__(self, model: IntegerModel) -> None:
        self._model = model
        self._states = model.zero_states(1)

    def push(self, vectors: np.ndarray) -> np.ndarray:
        """Take vectors (T, D); return the integer scores (T, C)."""
        x = self._model.quantize(vectors)[:, None]
        y, self._states = self._model.advance(x, self._states)
        return y[:, 0]

    def finish(self) -> np.ndarray:
        """Return nothing: every vector had its scores."""
        return np.zeros((0, self._model.layers[-1].output_size), np.int64)


class WholeUtterance:
    """Through a model that takes an utterance as a whole.

    Args:
        run: vectors (T, D) to scores (T, C).
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray]) -> None:
        self._run = run
        self._vectors: list[np.ndarray] = []

    def push(self, vectors: np.ndarray) -> np.ndarray:
        """Keep the vectors (T, D)."""
        self._vectors.append(vectors)
        return np.zeros((0, 1))

    def finish(self) -> np.ndarray:
        """Return the scores (T, C) of all."""
        return self._run(np.concatenate(self._vectors))
