"""Studies: networks that differ in one idea, trained side by side, with what the difference is worth."""

from inceptions.studies.claims import STUDIES, Arm, Study
from inceptions.studies.significance import estimate, holm, paired_difference
from inceptions.studies.study import ArmResult, StudyResult, conduct, resolve

__all__ = [
    "STUDIES",
    "Arm",
    "ArmResult",
    "Study",
    "StudyResult",
    "conduct",
    "estimate",
    "holm",
    "paired_difference",
    "resolve",
]
