"""How long an iteration takes: batch shapes, Equation (4), its calibrated form, and profiles with provenance."""

from costmodel.facts import GPUS, MODELS, GPUFacts, ModelFacts
from costmodel.model import Calibrated, CostModel, Equation4, LinearDecode
from costmodel.pivot import Pivot, pivot
from costmodel.profile import Profile, load, profile, profiles
from costmodel.shape import BatchShape, prompt
from costmodel.whole_engine import DecodeLine, PromptLine, PromptTable, WholeEngine

__all__ = [
    "GPUS",
    "MODELS",
    "BatchShape",
    "Calibrated",
    "CostModel",
    "DecodeLine",
    "Equation4",
    "GPUFacts",
    "LinearDecode",
    "ModelFacts",
    "Pivot",
    "Profile",
    "PromptLine",
    "PromptTable",
    "WholeEngine",
    "load",
    "pivot",
    "profile",
    "profiles",
    "prompt",
]
