"""The whole run as one tree of frozen, validated values: YAML in, YAML out."""

from glm130b.config.build import (
    BuildConfig,
    ChineseFilter,
    ContaminationConfig,
    CorpusSource,
    DuplicatesConfig,
    EnglishFilter,
    FiltersConfig,
    QualityFilter,
)
from glm130b.config.data import DataConfig, InstructionsConfig, ObjectiveConfig, PhaseConfig, SourceConfig
from glm130b.config.load import Merged, MergedConfig, load_config, load_tree, preset_names
from glm130b.config.mip import FewShotConfig, Format, Language, MipConfig, MipDataset, Task
from glm130b.config.schema import (
    BatchConfig,
    CheckpointConfig,
    EmbeddingGradientShrink,
    EvalConfig,
    LearningRateConfig,
    LoaderConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelConfig,
    RunConfig,
    TrainConfig,
)
from glm130b.config.section import Section
from glm130b.config.units import Amount

__all__ = [
    "Amount",
    "BatchConfig",
    "BuildConfig",
    "CheckpointConfig",
    "ChineseFilter",
    "ContaminationConfig",
    "CorpusSource",
    "DataConfig",
    "DuplicatesConfig",
    "EmbeddingGradientShrink",
    "EnglishFilter",
    "EvalConfig",
    "FewShotConfig",
    "FiltersConfig",
    "Format",
    "InstructionsConfig",
    "Language",
    "LearningRateConfig",
    "LoaderConfig",
    "Merged",
    "MergedConfig",
    "MipConfig",
    "MipDataset",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "ParallelConfig",
    "PhaseConfig",
    "QualityFilter",
    "RunConfig",
    "Section",
    "SourceConfig",
    "Task",
    "TrainConfig",
    "load_config",
    "load_tree",
    "preset_names",
]
