"""Speech recognition: acoustic model, data, training, decoding and scoring.

A recogniser from features and phones that are already there::

    train_set = Dataset(train_features, train_phones, PHONES_39)
    dev_set = Dataset(dev_features, dev_phones, PHONES_39)
    dense = AcousticModel(ModelConfig(input_size=160))
    train(dense, train_set, dev_set, TrainConfig(), "exp/dense")
    small = dense.compress(block_size=8)
    train(small, train_set, dev_set, TrainConfig(), "exp/k8")
    print(score(dev_set.phones, recognise(small, dev_set)))
"""

from ernn.asr.augment import Perturbation, SpecAugment
from ernn.asr.data import Batch, Dataset
from ernn.asr.decoding import (
    Decoder,
    Hybrid,
    PrefixBeam,
    Segment,
    Trial,
    decode,
    greedy,
    log_priors,
    posteriors,
    recognise,
    tune,
)
from ernn.asr.log import Epoch, History
from ernn.asr.model import AcousticModel, ModelConfig
from ernn.asr.ngram import NGram, train_ngram
from ernn.asr.objective import Distillation
from ernn.asr.scoring import Comparison, Interval, Score, compare, score
from ernn.asr.training import TrainConfig, train

__all__ = [
    "AcousticModel",
    "Batch",
    "Comparison",
    "Dataset",
    "Decoder",
    "Distillation",
    "Epoch",
    "History",
    "Hybrid",
    "Interval",
    "ModelConfig",
    "NGram",
    "Perturbation",
    "PrefixBeam",
    "Score",
    "Segment",
    "SpecAugment",
    "TrainConfig",
    "Trial",
    "compare",
    "decode",
    "greedy",
    "log_priors",
    "posteriors",
    "recognise",
    "score",
    "train",
    "train_ngram",
    "tune",
]
