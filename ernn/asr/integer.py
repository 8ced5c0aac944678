"""Integer models as acoustic models: what they recognise is scored as the float models' is."""

import numpy as np
import torch
from torch import Tensor

from ernn.fixed import Integers
from ernn.quantize import IntegerModel, OfflineModel
from ernn.quantize.integer import output_format


class IntegerAcousticModel:
    """An integer model in the place of an :class:`ernn.asr.AcousticModel`."""

    def __init__(self, model: IntegerModel | OfflineModel) -> None:
        self.model = model

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Log posteriors; what comes before an utterance's length does not depend on its padding.

        Args:
            features: (T, B, D) real, padded at the end.
            lengths: (B,) frames of each utterance.

        Returns:
            (T, B, C) float64, in the order of the integer scores.
        """
        x = self.model.quantize(features.numpy())
        if isinstance(self.model, IntegerModel):
            return log_posteriors(self.model, self.model.run(x))
        time, ends = np.arange(len(x))[:, None], lengths.numpy()
        turned = np.where(time < ends, ends - 1 - time, time)[..., None]  # (T, B, 1)
        for stage in self.model.stages:  # as OfflineModel.run does, but each utterance is turned
            sides = [stage[0].run(x)]  # within its own length: padding stays at its end
            for reverse in stage[1:]:
                y = reverse.run(np.take_along_axis(x, turned, axis=0))
                sides.append(np.take_along_axis(y, turned, axis=0))
            x = np.concatenate(sides, axis=-1)
        return log_posteriors(self.model.stages[-1][0], x)


def log_posteriors(model: IntegerModel, scores: Integers) -> Tensor:
    """Log posteriors of the scores that the last layer of a model gives."""
    return torch.from_numpy(output_format(model.layers[-1]).to_float(scores)).log_softmax(dim=-1)
