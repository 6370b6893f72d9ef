"""How long an iteration takes: batch shapes, Equation (4), its calibrated form, and profiles with provenance."""

from costmodel.model import Calibrated, CostModel, Equation4
from costmodel.shape import BatchShape, prompt

__all__ = ["BatchShape", "Calibrated", "CostModel", "Equation4", "prompt"]
