"""The same rows as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glm130b.evaluation import Results
from glm130b.reporting.energy import Energy
from glm130b.reporting.provenance import Training
from glm130b.reporting.rows import SCORE_HEADER, data_rows, reproducibility, score_rows

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def markdown(title: str, results: Results, training: Training, energy: Energy) -> str:
    """``report.md``: scores, reproducibility, data."""
    parts = [f"# {_md(title)}", "", "## Scores", ""]
    parts += _md_table(SCORE_HEADER, (row.cells() for rows in score_rows(results).values() for row in rows))
    parts += ["", "Published scores in parentheses are of another protocol.", "", "## Reproducibility", ""]
    for name, pairs in reproducibility(results, training).items():
        parts += [f"### {name}", "", *_md_table(("what", "value"), pairs), ""]
    parts += ["### Energy", "", _md(energy_text(energy)), "", "### Hyper-parameters", ""]
    parts += [*_md_table(("name", "value"), hyperparameters(training)), "", "### Data", ""]
    parts += _md_table(("for", "name", "SHA-256"), data_rows(results, training))
    return "\n".join(parts) + "\n"


def latex(results: Results, training: Training, energy: Energy) -> str:
    """``tables.tex``: the same tables, to be read into a paper; Chinese names need XeLaTeX or LuaLaTeX."""
    parts = ["% Scores", *_tex_table(SCORE_HEADER, (r.cells() for rows in score_rows(results).values() for r in rows))]
    pairs = [pair for section in reproducibility(results, training).values() for pair in section]
    pairs += [("energy", energy_text(energy))]
    parts += ["", "% Reproducibility", *_tex_table(("what", "value"), pairs, "lp{0.7\\textwidth}")]
    parts += ["", "% Hyper-parameters", *_tex_table(("name", "value"), hyperparameters(training))]
    parts += ["", "% Data", *_tex_table(("for", "name", "SHA-256"), data_rows(results, training))]
    return "\n".join(parts) + "\n"


def hyperparameters(training: Training) -> list[tuple[str, str]]:
    """Names and values."""
    values = training.hyperparameters
    if not isinstance(values, dict):
        return [("hyper-parameters", str(values))]
    return [(name, "none" if value is None else str(value)) for name, value in values.items()]


def energy_text(energy: Energy) -> str:
    """The energy in a sentence or two."""
    if energy.kwh is None:
        return energy.how
    text = f"{energy.kwh:,.4g} kWh. {energy.how}"
    if energy.kilograms is not None:
        text += f" At {energy.carbon:g} kg a kWh that is {energy.kilograms:,.4g} kg of CO2 equivalent."
    return text


def _md_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(header), ["---"] * len(header), *([_md(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _md(text: str) -> str:
    """A text that stays one cell and is no markup."""
    for sign in "\\`*_{}[]<>#|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _tex_table(header: Sequence[str], rows: Iterable[Sequence[str]], columns: str = "") -> list[str]:
    lines = [f"{' & '.join(map(_tex, row))} \\\\" for row in (header, *rows)]
    return [
        f"\\begin{{tabular}}{{{columns or 'l' * len(header)}}}",
        "\\hline",
        lines[0],
        "\\hline",
        *lines[1:],
        "\\hline",
        "\\end{tabular}",
    ]


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
