"""``report.html``: one page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from glm130b.corpus import printable
from glm130b.evaluation import Headline, TaskResult, interval_text, notes_of, number_text, title_of
from glm130b.reporting import figures
from glm130b.reporting.energy import PAPER_CARBON, PAPER_KWH
from glm130b.reporting.provenance import unknown
from glm130b.reporting.report import Compared, Report
from glm130b.reporting.rows import SEEN, ScoreRow, data_rows, is_ethics, reproducibility, score_rows
from glm130b.reporting.tables import energy_text, hyperparameters

SECTIONS = {
    "measured": ("What was measured", "测了什么"),
    "scores": ("Scores", "成绩"),
    "prompts": ("How much the prompt matters", "提示的影响"),
    "compared": ("Comparison", "对比"),
    "tasks": ("Tasks, notes and groups", "任务与说明"),
    "training": ("Training", "训练"),
    "reproducibility": ("Reproducibility", "可复现性"),
    "energy": ("Energy", "能耗"),
}
"""Titles in English and Chinese, in order; those without content are left out."""


def page(report: Report) -> str:
    """The page as HTML; control and format characters of names and texts become U+FFFD."""
    environment = Environment(
        loader=PackageLoader("glm130b", "reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    results = report.results
    families = score_rows(results)
    rows = [row for members in families.values() for row in members]
    shown = dict(SECTIONS)
    if not any(row.headline.prompts > 1 for row in rows):
        del shown["prompts"]
    if not report.compared:
        del shown["compared"]
    environment.filters |= {"count": "{:,}".format, "plain": _plain, "number": number_text, "interval": interval_text}
    environment.globals |= {
        "picture": _markup(figures.interval_picture),
        "group_picture": _markup(figures.group_picture),
        "strip": _strip,
        "title_of": title_of,
        "is_ethics": is_ethics,
    }
    text = environment.get_template("report.html.j2").render(
        report=report,
        results=results,
        families=families,
        anchors={task.name: f"task-{number}" for number, task in enumerate(results.tasks)},
        spread=[row for row in rows if row.headline.prompts > 1],
        sections=shown,
        notes=list(notes_of(report.results)),
        ethics=[task for task in results.tasks if is_ethics(task)],
        questions=sum(one.questions for task in results.tasks for one in task.measurements),
        seen=SEEN,
        compared=[(one, _differences(one)) for one in report.compared],
        loss_chart=Markup(figures.loss_chart(report.run.records)) if report.run else "",
        gradient_chart=Markup(figures.gradient_chart(report.run.records)) if report.run else "",
        config=report.run.text if report.run else "",
        reproducibility=reproducibility(results, report.training),
        hyperparameters=hyperparameters(report.training),
        data=list(data_rows(results, report.training)),
        unknown=unknown(report.training),
        energy=energy_text(report.energy),
        paper_energy=f"{PAPER_KWH / 1000:,.1f} MWh at {PAPER_CARBON:.4f} kg a kWh, "
        f"{PAPER_KWH * PAPER_CARBON / 1e3:,.0f} t of CO2 equivalent",
    )
    return "\n".join(map(printable, text.split("\n")))


def _markup(draw: Callable[..., str]) -> Callable[..., Markup]:
    return lambda *arguments: Markup(draw(*arguments))


def _strip(row: ScoreRow) -> Markup:
    return Markup(figures.strip_picture(row.headline, prompts_of(row.task, row.headline)))


def prompts_of(task: TaskResult, headline: Headline) -> Sequence[tuple[str, float | None]]:
    """Every wording's score of a headline's metric, in the order of the task."""
    return [
        (one.prompt, score.value)
        for one in task.measurements
        if (one.shots, one.attention) == (headline.shots, headline.attention)
        for score in one.scores
        if (score.metric, score.aggregate) == (headline.metric, headline.aggregate)
    ]


def _differences(compared: Compared) -> list[tuple[Any, Markup]]:
    """Rows with their pictures; percentages share one scale, and every other metric has its own."""
    shared = figures.difference_axis([row.comparison for row in compared.rows if row.comparison.percent])
    return [
        (
            row,
            Markup(
                figures.difference_picture(
                    row.comparison, shared if row.comparison.percent else figures.difference_axis([row.comparison])
                )
            ),
        )
        for row in compared.rows
    ]


def _plain(value: Any) -> str:
    """A setting's value in a line."""
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
