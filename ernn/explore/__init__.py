"""Which recogniser to build: exploration on the accuracy of trained models and on real hardware.

:mod:`ernn.explore.phase1` chooses cell and block size with a handful of trainings,
:mod:`ernn.explore.study` draws the wider picture. Neither knows the hardware or the data: both are
given as functions of a :class:`Candidate` (:mod:`ernn.explore.candidate`).
"""

from ernn.explore.candidate import Candidate, CannotBuildError, Core, Hardware

__all__ = ["Candidate", "CannotBuildError", "Core", "Hardware"]
