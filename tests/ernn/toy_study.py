"""A study without training and synthesis: its hardware and its trainer are formulas.

As a program it is a worker: ``toy_study.py FOLDER TRIALS SECONDS`` makes trials of so many seconds.
"""

import sys
import time
from pathlib import Path

from ernn.asr import ModelConfig
from ernn.explore import Candidate, CannotBuildError, Core
from ernn.explore.study import Space, explore

BASE = Candidate(ModelConfig(input_size=40, peephole=True))
SPACE = Space(hidden_sizes=(32, 64), num_layers=(1, 2), n_pe=(4, 8, 16))
EPOCHS = 4


class Hardware:
    """More PEs take more of the device and fewer cycles; 16 do not fit with the largest k."""

    device, holds, block_sizes = "toy", {"dsp": 500, "lut": 10_000, "bram36": 100.0}, (4, 8, 16)

    def __call__(self, candidate, n_pe=None):
        model, k = candidate.model, candidate.model.block_size
        if (k, n_pe) == (16, 16):
            raise CannotBuildError("toy: 16 PEs lack DSPs")
        work = model.num_layers * model.hidden_size**2 * (4 if model.cell == "lstm" else 3)
        return Core(
            size=f"{n_pe} PEs",
            n_pe=n_pe,
            cycles=work // (k * k * n_pe) + 100,
            clock=100.0,
            memory_bytes=work // k,
            dsp=n_pe * (3 * k // 2 - 1),
            lut=1000,
            bram36=n_pe / 2 + work / k / 4096,
            share=0.5,
            scarcest="dsp",
        )


class Trainer:
    """A larger model errs less, a larger k and fewer bits more; so many seconds an epoch."""

    def __init__(self, seconds=0.0):
        self.seconds, self.trained = seconds, []

    def per(self, candidate):
        model = candidate.model
        size = model.num_layers * model.hidden_size
        return 20 + 500 / size + model.block_size / 2 + 2 ** (9 - candidate.words.weight)

    def __call__(self, candidate, watch):
        self.trained.append(candidate)
        curve = []
        for epoch in range(EPOCHS):
            time.sleep(self.seconds)
            curve.append(self.per(candidate) * (1 + 1 / (epoch + 1)))
            watch(curve)
        return self.per(candidate)


def run(folder, trials, trainer=None, space=SPACE, **options):
    trainer = trainer or Trainer()
    options = {"name": "toy", "heartbeat": 1, **options}
    return explore(BASE, space, Hardware(), trainer, Path(folder), trials=trials, **options)


if __name__ == "__main__":
    folder, trials, seconds = sys.argv[1:]
    run(folder, int(trials), Trainer(float(seconds) / EPOCHS))
