"""The whole run as one tree of frozen, validated values: YAML in, YAML out."""

from glm130b.config.load import Merged, MergedConfig, load_config, load_tree, preset_names
from glm130b.config.schema import (
    BatchConfig,
    CheckpointConfig,
    DataConfig,
    EmbeddingGradientShrink,
    EvalConfig,
    LearningRateConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    ParallelConfig,
    RunConfig,
    Section,
    SourceConfig,
    TrainConfig,
)
from glm130b.config.units import Amount

__all__ = [
    "Amount",
    "BatchConfig",
    "CheckpointConfig",
    "DataConfig",
    "EmbeddingGradientShrink",
    "EvalConfig",
    "LearningRateConfig",
    "Merged",
    "MergedConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "ParallelConfig",
    "RunConfig",
    "Section",
    "SourceConfig",
    "TrainConfig",
    "load_config",
    "load_tree",
    "preset_names",
]
