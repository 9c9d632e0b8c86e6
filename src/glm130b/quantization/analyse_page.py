"""``analysis.json`` and ``analysis.html``: one page that needs nothing but itself."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from glm130b.chart import Series, line_chart
from glm130b.files import whole_file
from glm130b.quantization.analyse_activations import CURVE_POINTS, MAGNITUDE, TIMES_MEDIAN, ActivationReport
from glm130b.quantization.analyse_null import gaussian_null
from glm130b.quantization.analyse_weights import HISTOGRAM_BINS, HISTOGRAM_EDGE, QUANTILES, Loss, MatrixReport

FORMAT_VERSION = 1
STYLES = ("one", "two", "three", "four")
_NULL_WIDTHS = [2**n for n in range(5, 16)]
_NUM_OUTLIERS = 12


@dataclass(frozen=True)
class KindRow:
    """What matrices that do the same in different layers have in common: medians over the layers."""

    kind: str
    count: int
    columns: int
    kurtosis: float
    row_kurtosis: float
    peak: float
    gaussian_peak: float
    losses: dict[tuple[int, str], Loss]
    """The median matrix's, by bits and grain."""


@dataclass(frozen=True)
class Analysis:
    """All that was found.

    Attributes:
        model: its name.
        text: what was read for the activations; None if nothing was.
    """

    model: str
    matrices: Sequence[MatrixReport]
    activations: Sequence[ActivationReport] = ()
    text: str | None = None

    def kinds(self) -> list[KindRow]:
        """In the order in which they first come."""
        found: dict[str, list[MatrixReport]] = {}
        for matrix in self.matrices:
            found.setdefault(matrix.kind, []).append(matrix)
        return [_kind_row(kind, members) for kind, members in found.items()]

    def ways(self) -> list[tuple[int, str]]:
        """Bits and grain of every way to quantise, from the coarsest grain to the finest."""
        widths: dict[tuple[int, str], int] = {}
        for matrix in self.matrices:
            for loss in matrix.losses:
                key = loss.bits, loss.grain
                widths[key] = max(widths.get(key, 0), loss.width)
        return sorted(widths, key=lambda key: (-key[0], -widths[key], key[1]))

    def outliers(self) -> list[tuple[ActivationReport, Any]]:
        """The dimensions that stand out most, of all maps."""
        every = [(report, outlier) for report in self.activations for outlier in report.outliers]
        return sorted(every, key=lambda pair: -pair[1].ratio)[:_NUM_OUTLIERS]

    def to_json(self) -> dict[str, Any]:
        """As docs/quantisation-analysis.md describes it."""
        return {
            "format_version": FORMAT_VERSION,
            "model": self.model,
            "text": self.text,
            "quantiles": list(QUANTILES),
            "histogram": {"edge": HISTOGRAM_EDGE, "bins": HISTOGRAM_BINS},
            "outliers": {"times_median": TIMES_MEDIAN, "magnitude": MAGNITUDE},
            "matrices": [matrix.to_json() for matrix in self.matrices],
            "activations": [report.to_json() for report in self.activations],
        }


def write_analysis(analysis: Analysis, folder: Path) -> tuple[Path, Path]:
    """Write both files into ``folder``, which is made; earlier ones of the same names are replaced.

    Raises:
        ResourceError: the disk is full or not writable.
    """
    written, page = folder / "analysis.json", folder / "analysis.html"
    with whole_file(written) as partial:
        partial.write_text(json.dumps(analysis.to_json(), indent=1), encoding="utf-8")
    with whole_file(page) as partial:
        partial.write_text(_page(analysis), encoding="utf-8")
    return written, page


def _page(analysis: Analysis) -> str:
    environment = Environment(
        loader=PackageLoader("glm130b", "quantization"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    kinds = analysis.kinds()
    ways = analysis.ways()
    least = min((bits for bits, _ in ways), default=4)
    charts = {
        "histogram": _histogram_chart(analysis, kinds),
        "width": _width_chart(kinds, least),
        "rows": _rows_chart(kinds, least),
        "kurtosis": _by_layer(analysis.matrices, "row_kurtosis", "excess kurtosis within rows"),
        "curve": _curve_chart(analysis.activations),
        "outliers_chart": _by_layer(
            analysis.activations, "share_above_median", "share of dimensions that are outliers"
        ),
    }
    return environment.get_template("analysis.html.j2").render(
        analysis=analysis,
        kinds=kinds,
        ways=ways,
        bits=least,
        times_median=TIMES_MEDIAN,
        magnitude=MAGNITUDE,
        outliers=analysis.outliers(),
        **{name: Markup(chart) for name, chart in charts.items()},
    )


def _kind_row(kind: str, members: Sequence[MatrixReport]) -> KindRow:
    losses: dict[tuple[int, str], list[Loss]] = {}
    for matrix in members:
        for loss in matrix.losses:
            losses.setdefault((loss.bits, loss.grain), []).append(loss)
    return KindRow(
        kind,
        len(members),
        members[0].columns,
        median(matrix.kurtosis for matrix in members),
        median(matrix.row_kurtosis for matrix in members),
        median(matrix.peaks[len(QUANTILES) // 2] for matrix in members),
        members[0].gaussian_peak,
        {key: sorted(its, key=lambda loss: loss.relative)[len(its) // 2] for key, its in losses.items()},
    )


def _histogram_chart(analysis: Analysis, kinds: Sequence[KindRow]) -> str:
    width = 2 * HISTOGRAM_EDGE / HISTOGRAM_BINS
    centres = [-HISTOGRAM_EDGE + (n + 0.5) * width for n in range(HISTOGRAM_BINS)]
    series = [_normal_density(centres)]
    for row, style in zip(kinds, STYLES, strict=False):
        members = [matrix for matrix in analysis.matrices if matrix.kind == row.kind]
        total = sum(matrix.rows * matrix.columns for matrix in members) * width
        counts = [sum(column) for column in zip(*(matrix.histogram for matrix in members), strict=True)]
        series.append(Series(row.kind, [(x, n / total) for x, n in zip(centres, counts, strict=True) if n], style))
    return line_chart(
        series,
        x_label="weight, in standard deviations of its matrix",
        y_label="density (log scale)",
        description="Distribution of the weights of each kind of matrix beside the normal distribution",
        log_y=True,
    )


def _normal_density(centres: Sequence[float]) -> Series:
    points = [(x, math.exp(-x * x / 2) / math.sqrt(2 * math.pi)) for x in centres if abs(x) < 5]
    return Series("normal distribution", points, "null")


def _width_chart(kinds: Sequence[KindRow], bits: int) -> str:
    null = [(float(width), gaussian_null(width, 4 if bits == 4 else 8).error) for width in _NULL_WIDTHS]
    series = [Series("independent normal weights", null, "null")]
    for row, style in zip(kinds, STYLES, strict=False):
        found = [(float(loss.width), loss.relative) for (its, _), loss in row.losses.items() if its == bits]
        series.append(Series(row.kind, sorted(found), style, dots=True, joined=False))
    return line_chart(
        series,
        x_label="weights that share a scale (log scale)",
        y_label=f"relative error, INT{bits}",
        description="Error of quantisation against the number of weights that share a scale",
        log_x=True,
    )


def _rows_chart(kinds: Sequence[KindRow], bits: int) -> str:
    series = [
        Series(row.kind, list(zip(QUANTILES, row.losses[bits, "rows"].rows, strict=True)), style, dots=True)
        for row, style in zip(kinds, STYLES, strict=False)
        if (bits, "rows") in row.losses
    ]
    return line_chart(
        series,
        x_label="share of rows with at most this error",
        y_label=f"relative error of a row, INT{bits} by rows",
        description="Error of single rows of the median matrix of each kind",
    )


def _by_layer(reports: Sequence[MatrixReport] | Sequence[ActivationReport], key: str, label: str) -> str:
    kinds = list(dict.fromkeys(report.kind for report in reports))
    series = [
        Series(kind, [(r.layer, getattr(r, key)) for r in reports if r.kind == kind], style, dots=len(reports) < 80)
        for kind, style in zip(kinds, STYLES, strict=False)
    ]
    return line_chart(series, x_label="layer", y_label=label, description=f"{label} by layer", whole_x=True)


def _curve_chart(reports: Sequence[ActivationReport]) -> str:
    series = [Series(f"{TIMES_MEDIAN:g} times the median", [(0.0, TIMES_MEDIAN), (1.0, TIMES_MEDIAN)], "null")]
    for kind, style in zip(dict.fromkeys(report.kind for report in reports), STYLES, strict=False):
        worst = max((r for r in reports if r.kind == kind), key=lambda r: (r.share_above_median, r.curve[-1]))
        points = [(n / (CURVE_POINTS - 1), ratio) for n, ratio in enumerate(worst.curve)]
        series.append(Series(f"{kind}, layer {worst.layer}", points, style))
    return line_chart(
        series if reports else [],
        x_label="share of dimensions",
        y_label="largest over the median (log scale)",
        description="Largest magnitudes of the dimensions, in ascending order, of the layer with most outliers",
        log_y=True,
    )
