"""All settings: `Recipe`, the scientific ones (shown as the run form), and `Settings`, those of the environment."""

from plankseg.config.choices import (
    UNCERTAINTY,
    Architecture,
    ArmName,
    AssistMethod,
    Augmentation,
    BackendName,
    ComputingName,
    Measure,
    RecipeChoice,
    RecipeName,
    ScoringName,
    SelectorName,
)
from plankseg.config.comparison import Grid, SimulationConfig, SimulationData
from plankseg.config.environment import Settings, settings
from plankseg.config.frozen_model import FrozenModel, field_title
from plankseg.config.harvest import AuditConfig, ExportConfig, FinalConfig, Part, SegmentConfig
from plankseg.config.query import QueryConfig
from plankseg.config.recipe import AssistConfig, InferenceConfig, MasksConfig, Recipe, RoundsConfig
from plankseg.config.training import NetworkConfig, TrainingConfig
from plankseg.config.validation import ValidationConfig, ValidationDraw

__all__ = [
    "UNCERTAINTY",
    "Architecture",
    "ArmName",
    "AssistConfig",
    "AssistMethod",
    "AuditConfig",
    "Augmentation",
    "BackendName",
    "ComputingName",
    "ExportConfig",
    "FinalConfig",
    "FrozenModel",
    "Grid",
    "InferenceConfig",
    "MasksConfig",
    "Measure",
    "NetworkConfig",
    "Part",
    "QueryConfig",
    "Recipe",
    "RecipeChoice",
    "RecipeName",
    "RoundsConfig",
    "ScoringName",
    "SegmentConfig",
    "SelectorName",
    "Settings",
    "SimulationConfig",
    "SimulationData",
    "TrainingConfig",
    "ValidationConfig",
    "ValidationDraw",
    "field_title",
    "settings",
]
