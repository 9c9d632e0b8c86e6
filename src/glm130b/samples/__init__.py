"""Token shards to training samples: every sample a pure function of the configuration and its number."""

from glm130b.samples.blank import NO_TARGET, Sample, gmask_sample, mask_sample
from glm130b.samples.sequence import Sequence, pack
from glm130b.samples.show import describe
from glm130b.samples.spans import draw_span_lengths, fit_window, place_spans, span_length_weights
from glm130b.samples.stream import Objective, Origin, SampleStream

__all__ = [
    "NO_TARGET",
    "Objective",
    "Origin",
    "Sample",
    "SampleStream",
    "Sequence",
    "describe",
    "draw_span_lengths",
    "fit_window",
    "gmask_sample",
    "mask_sample",
    "pack",
    "place_spans",
    "span_length_weights",
]
