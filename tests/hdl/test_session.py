"""An accelerator that runs on: frames in pieces, utterance after utterance, and what goes wrong."""

from collections.abc import Iterator

import numpy as np
import pytest
from networks import CORE, PROGRAMS, SYSTEM

from hdl import simulate
from hdl.simulate import Session, SimulationError, Simulator


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    return Simulator(CORE)


def frames(name: str, length: int, seed: int) -> np.ndarray:
    """Random frames of a network, (length, input_size)."""
    layer = SYSTEM[name].layers[0]
    return np.random.default_rng(seed).integers(-128, 128, (length, layer.input_size))


@pytest.mark.parametrize("name", ["projected", "stack"])
@pytest.mark.parametrize("options", [{}, {"idle": 0.4, "stall": 0.4, "seed": 5}])
def test_pieces_of_an_utterance_are_the_utterance(
    simulator: Simulator, name: str, options: dict[str, float]
) -> None:
    first, second = frames(name, 9, 0), frames(name, 4, 1)
    with Session(simulator, PROGRAMS[name], **options) as session:
        for x in (first, second, first):  # states begin at zero each time
            pieces = np.split(x, [1, 2, 4])
            outputs = [session.run([p], goes_on=n > 0).outputs[0] for n, p in enumerate(pieces)]
            wanted = SYSTEM[name].run(x[:, None])[:, 0]
            np.testing.assert_array_equal(np.concatenate(outputs), wanted)
        both = session.run([second, first]).outputs
    for x, y in zip((second, first), both, strict=True):
        np.testing.assert_array_equal(y, SYSTEM[name].run(x[:, None])[:, 0])


def test_interleaved_streams_go_on_together(simulator: Simulator) -> None:
    pair = [frames("classifier", 7, seed) for seed in (2, 3)]
    with Session(simulator, PROGRAMS["interleaved"]) as session:
        head = session.run([x[:3] for x in pair]).outputs
        tail = session.run([x[3:] for x in pair], goes_on=True).outputs
    for x, before, after in zip(pair, head, tail, strict=True):
        wanted = SYSTEM["classifier"].run(x[:, None])[:, 0]
        np.testing.assert_array_equal(np.concatenate([before, after]), wanted)


def test_a_hang_is_told(simulator: Simulator) -> None:
    with (  # no result is ever taken
        Session(simulator, PROGRAMS["projected"], stall=1.0, patience=2000) as session,
        pytest.raises(SimulationError, match="no transfer in 2000 cycles"),
    ):
        session.run([frames("projected", 3, 0)])


def test_a_refused_image_is_told(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate.image

    def damaged(program: object) -> np.ndarray:
        words = np.array(whole(program))
        words[len(words) // 2] ^= 1
        return words

    monkeypatch.setattr(simulate, "image", damaged)
    with (
        Session(simulator, PROGRAMS["projected"]) as session,
        pytest.raises(SimulationError, match="the image was refused"),
    ):
        session.run([frames("projected", 3, 0)])
