"""ART•V's study."""

from evaluation.studies.artv.study import STUDY

__all__ = ["STUDY"]
