"""Which dimensions of the inputs of linear maps are outliers while a model reads text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from glm130b.model import GLM, LINEAR_NAMES

TIMES_MEDIAN, MAGNITUDE = 6.0, 6.0
"""An outlier reaches so many times the median dimension's largest magnitude; LLM.int8() counts magnitudes of 6."""

_NAMED = 8
CURVE_POINTS = 101


@dataclass(frozen=True)
class Outlier:
    """A dimension that stands out.

    Attributes:
        dimension: of the map's input, from 0.
        largest: its largest magnitude over all tokens.
        ratio: over the median of all dimensions'.
    """

    dimension: int
    largest: float
    ratio: float


@dataclass(frozen=True)
class ActivationReport:
    """The inputs of a linear map.

    Attributes:
        name: of the map.
        tokens: that were read.
        dimensions: of the input.
        median: of the dimensions' largest magnitudes.
        share_above_median: of dimensions with at least ``TIMES_MEDIAN`` times that.
        share_above_magnitude: of dimensions that reach ``MAGNITUDE``.
        outliers: those that stand out most, whether or not they count as outliers.
        curve: ratios to the median in ascending order, at ``CURVE_POINTS`` equally spaced ranks.
    """

    name: str
    kind: str
    layer: int
    tokens: int
    dimensions: int
    median: float
    share_above_median: float
    share_above_magnitude: float
    outliers: list[Outlier]
    curve: list[float]

    def to_json(self) -> dict[str, Any]:
        """As it is written to ``analysis.json``."""
        return asdict(self)


class ActivationRecorder:
    """Notes the largest magnitude of every dimension while the block is run: ``with ActivationRecorder(model) as r:``.

    Whoever runs the model leaves padding out: it would be counted.
    """

    def __init__(self, model: GLM) -> None:
        self._largest: dict[str, Tensor] = {}
        self._tokens: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []
        self._maps = [
            (f"layers.{n}.{name}", layer.get_submodule(name))
            for n, layer in enumerate(model.layers)
            for name in LINEAR_NAMES
        ]

    def __enter__(self) -> Self:
        for name, module in self._maps:
            self._handles.append(module.register_forward_pre_hook(self._hook(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def reports(self) -> list[ActivationReport]:
        """What was found, map by map; empty if nothing was read."""
        return [self._report(name) for name, _ in self._maps if name in self._largest]

    def _hook(self, name: str) -> Any:
        def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            found = arguments[0].detach().flatten(0, -2).abs().amax(dim=0).float().cpu()
            self._tokens[name] = self._tokens.get(name, 0) + arguments[0].shape[:-1].numel()
            self._largest[name] = torch.maximum(self._largest.get(name, found), found)

        return note

    def _report(self, name: str) -> ActivationReport:
        largest = self._largest[name].double()
        ordered = largest.sort().values
        median = float(ordered[(len(ordered) - 1) // 2])
        ratios = largest / median if median else torch.zeros_like(largest)
        top = torch.argsort(largest, descending=True, stable=True)[:_NAMED].tolist()
        ranks = torch.linspace(0, len(ordered) - 1, CURVE_POINTS).round().long()
        _, layer, *kind = name.split(".")
        return ActivationReport(
            name=name,
            kind=".".join(kind),
            layer=int(layer),
            tokens=self._tokens[name],
            dimensions=len(largest),
            median=median,
            share_above_median=float((ratios >= TIMES_MEDIAN).double().mean()),
            share_above_magnitude=float((largest >= MAGNITUDE).double().mean()),
            outliers=[Outlier(n, float(largest[n]), float(ratios[n])) for n in top],
            curve=ratios.sort().values[ranks].tolist(),
        )
