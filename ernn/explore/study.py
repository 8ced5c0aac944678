"""The wider exploration: accuracy against latency, DSPs and memory, as an Optuna study.

A trial is a recogniser (cell, hidden size, layers, block size, word length of the weights) on a
core of so many PEs. Four things are minimised: dev PER, latency, DSPs and block RAMs. What comes
out is the Pareto front: all trials to which no other is at least equal in everything.

Pruning. Optuna prunes studies of one objective alone, so this has two rules of its own. A trial
whose hardware cannot be built is pruned before its training. The rest of the hardware's figures are
known by then too, only the dev PER is not; so after ``first_epochs`` epochs a trial is pruned when
another one, whose hardware is no worse in anything, was better by more than ``margin`` points of
dev PER after as many epochs.

Workers. Any number of processes may call :func:`explore` with the same storage. A worker that is
killed loses its own trial alone, and that one is queued again with the same parameters as soon as
its heartbeat is missed.

Optuna: Akiba et al., KDD 2019; the sampler is its multi-objective TPE (Ozaki et al., GECCO 2020).
"""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback, Study
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from ernn.explore.candidate import Candidate, CannotBuildError, Hardware
from ernn.explore.pareto import OBJECTIVES, write

FINISHED = TrialState.COMPLETE, TrialState.PRUNED

MOST_RETRIES = 2
"""How often a trial is queued again whose worker was killed: the trial may be what kills it."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Space:
    """What is explored.

    Raises:
        ValueError: there is nothing to choose from, or a cell is unknown.
    """

    cells: tuple[str, ...] = ("lstm", "gru")
    hidden_sizes: tuple[int, ...] = (128, 256, 512)
    num_layers: tuple[int, ...] = (1, 2, 3)
    block_sizes: tuple[int, ...] = (4, 8, 16)
    weight_bits: tuple[int, ...] = (8, 10, 12)
    n_pe: tuple[int, ...] = (8, 16, 32, 64)

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty: there must be something to choose from")
        if unknown := sorted(set(self.cells) - {"lstm", "gru"}):
            raise ValueError(f"cells {', '.join(unknown)}: known are lstm and gru")

    def suggest(self, trial: Trial, base: Candidate) -> tuple[Candidate, int]:
        """The recogniser and the PEs of a trial."""

        def choose(name: str, choices: Sequence[Any]) -> Any:
            return trial.suggest_categorical(name, choices)

        candidate = base.shaped(
            cell=choose("cell", self.cells),
            hidden_size=choose("hidden_size", self.hidden_sizes),
            num_layers=choose("num_layers", self.num_layers),
            block_size=choose("block_size", self.block_sizes),
        )
        words = replace(base.words, weight=choose("weight_bits", self.weight_bits))
        return replace(candidate, words=words), choose("n_pe", self.n_pe)


@dataclass(frozen=True)
class Pruning:
    """When a trial is given up."""

    first_epochs: int = 3  # a trial is trained for as many in any case
    margin: float = 5.0  # points of dev PER that it may be behind

    def __post_init__(self) -> None:
        if self.first_epochs < 1:
            raise ValueError(f"first_epochs {self.first_epochs}: must be 1 or more")
        if self.margin < 0:
            raise ValueError(f"margin {self.margin}: must be 0 or more points of dev PER")


Watch = Callable[[list[float]], None]
"""Takes the dev PERs of all epochs so far; raises to end the training."""


class Trainer(Protocol):
    """Trains candidates, all for the same number of epochs."""

    def __call__(self, candidate: Candidate, watch: Watch) -> float:
        """The dev PER in percent of a candidate, trained and quantized to its word lengths.

        Args:
            candidate: what to train; several candidates may differ in their word lengths alone.
            watch: to be called after every epoch.

        Raises:
            FloatingPointError: the training diverged.
        """


def explore(
    base: Candidate,
    space: Space,
    hardware: Hardware,
    trainer: Trainer,
    folder: Path,
    *,
    trials: int,
    name: str,
    storage: str | None = None,
    pruning: Pruning = Pruning(),
    settings: Any = None,
    seed: int = 0,
    heartbeat: int = 60,
) -> Study:
    """Go on with a study until it has so many finished trials, and write what it came to.

    The folder then holds ``study.json``, every trial and the front, and ``pareto.png``.

    Args:
        base: what all candidates have in common.
        space: what they differ in.
        hardware: what can be built.
        trainer: trains a candidate.
        folder: where results are written.
        trials: of the whole study, those that were pruned among them.
        name: of the study in its storage.
        storage: URL of a database, as SQLAlchemy takes it; else SQLite's ``study.db`` there.
        pruning: when a trial is given up.
        settings: what a trial's result depends on besides, in plain values: a study goes on with
            the same alone.
        seed: of the choices; with one worker a study is the same however often it is interrupted.
        heartbeat: seconds from one sign of life of a trial to the next; when two are missed it is
            queued again.

    Raises:
        ValueError: the storage holds another study of that name, or ``trials`` is less than 1.
        sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError: the storage fails.
    """
    if trials < 1:
        raise ValueError(f"trials {trials}: must be 1 or more")
    folder.mkdir(parents=True, exist_ok=True)
    study = _open(storage or f"sqlite:///{folder / 'study.db'}", name, seed, heartbeat)
    _check_settings(
        study,
        {
            "device": hardware.device,
            "base": asdict(base),
            "space": asdict(space),
            "pruning": asdict(pruning),
            "seed": seed,
            "settings": settings,
        },
    )
    objective = _Objective(study, base, space, hardware, trainer, pruning)
    with tqdm(total=trials, initial=_finished(study), disable=None, desc=name) as bar:

        def show(study: Study, _: FrozenTrial) -> None:
            bar.n = min(_finished(study), trials)
            bar.refresh()

        if _finished(study) < trials:
            limit = MaxTrialsCallback(trials, states=FINISHED)
            try:
                study.optimize(objective, callbacks=[show, limit])
            except KeyboardInterrupt:
                objective.queue_again()
                raise
    write(study, folder)
    return study


def _open(url: str, name: str, seed: int, heartbeat: int) -> Study:
    patient = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats, since Optuna 2.8
        storage = RDBStorage(
            url,
            engine_kwargs=patient,
            heartbeat_interval=heartbeat,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MOST_RETRIES),
        )
    return optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=_Sampler(seed),
        directions=["minimize"] * len(OBJECTIVES),
        load_if_exists=True,
    )


def _check_settings(study: Study, settings: dict[str, Any]) -> None:
    settings = json.loads(json.dumps(settings, default=list))
    known = study.user_attrs.get("settings")
    if known is None:
        study.set_user_attr("settings", settings)
    elif known != settings:
        differ = ", ".join(name for name in settings if known.get(name) != settings[name])
        raise ValueError(
            f"study {study.study_name!r}: was begun with another {differ}; name another folder or "
            "storage"
        )


def _finished(study: Study) -> int:
    return len(study.get_trials(deepcopy=False, states=FINISHED))


class _Sampler(BaseSampler):
    """TPE of all parameters together; what it has drawn before is replaced by something new.

    The draws depend on the seed and a trial's number, not on the worker that draws.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._of_trial = _tpe(seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The first that is asked of a trial."""
        self._of_trial = _tpe(self._seed, trial.number)
        return self._of_trial.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw what belongs together: something new, if there is any."""
        params = self._of_trial.sample_relative(study, trial, search_space)
        drawn = [
            {name: other.params.get(name) for name in search_space}
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
        ]
        if params not in [{}, *drawn]:
            return params
        choices = [
            distribution.choices
            for distribution in search_space.values()
            if isinstance(distribution, CategoricalDistribution)
        ]
        every = (dict(zip(search_space, values, strict=True)) for values in product(*choices))
        new = [other for other in every if other not in drawn]
        rng = np.random.default_rng((self._seed, trial.number))
        return new[rng.integers(len(new))] if new else params

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter."""
        return self._of_trial.sample_independent(study, trial, param_name, param_distribution)


def _tpe(*seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # multivariate, since Optuna 2.2
        return TPESampler(
            multivariate=True, seed=int(np.random.SeedSequence(seed).generate_state(1)[0])
        )


@dataclass
class _Objective:
    """From a trial to its four values."""

    study: Study
    base: Candidate
    space: Space
    hardware: Hardware
    trainer: Trainer
    pruning: Pruning
    number: int | None = field(default=None, init=False)  # of the trial that is running

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        """Run a trial.

        Raises:
            optuna.TrialPruned: it is given up.
        """
        self.number = trial.number
        candidate, n_pe = self.space.suggest(trial, self.base)
        trial.set_user_attr("candidate", candidate.key)
        try:
            core = self.hardware(candidate, n_pe)
        except CannotBuildError as error:
            raise _pruned(trial, f"cannot be built: {error}") from None
        trial.set_user_attr("core", core.size)
        hardware = core.latency_us, float(core.dsp), core.bram36
        trial.set_user_attr("hardware", hardware)
        for other in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if other.user_attrs["candidate"] == candidate.key:
                trial.set_user_attr("dev_per", other.user_attrs.get("dev_per", []))
                return other.values[0], *hardware

        def watch(dev_per: list[float]) -> None:
            trial.set_user_attr("dev_per", dev_per)
            others = [t for t in self.study.get_trials(deepcopy=False) if t.number != trial.number]
            better = overtaken(dev_per, hardware, others, self.pruning)
            if better is not None:
                why = f"trial {better} is better by more than {self.pruning.margin:g} points"
                raise _pruned(trial, f"{why} after {len(dev_per)} epochs, on no more hardware")

        try:
            per = self.trainer(candidate, watch)
        except FloatingPointError as error:
            raise _pruned(trial, str(error)) from None
        return per, *hardware

    def queue_again(self) -> None:
        """Have the trial that was interrupted done by the next worker."""
        if self.number is None:
            return
        trial = self.study.trials[self.number]
        if trial.state is TrialState.FAIL:
            self.study.enqueue_trial(trial.params)


def _pruned(trial: Trial, why: str) -> optuna.TrialPruned:
    trial.set_user_attr("pruned", why)
    return optuna.TrialPruned(why)


def overtaken(
    dev_per: Sequence[float],
    hardware: Sequence[float],
    others: Sequence[FrozenTrial],
    pruning: Pruning,
) -> int | None:
    """The number of a trial that makes another hopeless, if there is one.

    Args:
        dev_per: of the epochs so far.
        hardware: latency, DSPs and block RAMs.
        others: the other trials, finished or not.
        pruning: when a trial is given up.
    """
    epochs = len(dev_per)
    if epochs < pruning.first_epochs:
        return None
    for other in others:
        known = other.user_attrs.get("dev_per", [])
        if len(known) < epochs or known[epochs - 1] + pruning.margin >= dev_per[-1]:
            continue
        pairs = zip(other.user_attrs["hardware"], hardware, strict=True)
        if all(theirs <= ours for theirs, ours in pairs):
            return other.number
    return None
