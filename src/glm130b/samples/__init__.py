"""Token shards to training samples: every sample a pure function of the configuration and its number."""

from glm130b.samples.blank import NO_TARGET, Sample, gmask_sample, mask_sample
from glm130b.samples.instruction import instruction_sample
from glm130b.samples.mixture import Mixture, Phase
from glm130b.samples.open import TrainingData, open_training_data
from glm130b.samples.phases import mixture_phases, sample_number, settings_seen
from glm130b.samples.sequence import PADDING, Sequence, pack
from glm130b.samples.show import describe
from glm130b.samples.spans import draw_span_lengths, fit_window, place_spans, span_length_weights
from glm130b.samples.stream import Objective, Origin, SampleStream

__all__ = [
    "NO_TARGET",
    "PADDING",
    "Mixture",
    "Objective",
    "Origin",
    "Phase",
    "Sample",
    "SampleStream",
    "Sequence",
    "TrainingData",
    "describe",
    "draw_span_lengths",
    "fit_window",
    "gmask_sample",
    "instruction_sample",
    "mask_sample",
    "mixture_phases",
    "open_training_data",
    "pack",
    "place_spans",
    "sample_number",
    "settings_seen",
    "span_length_weights",
]
