"""``glm report``: results, training and energy on one page."""

from __future__ import annotations

from pathlib import Path

import typer


def report(
    results: Path = typer.Argument(metavar="RESULTS", help="The folder that `glm eval run` wrote."),
    out: Path = typer.Option(None, metavar="FOLDER", help="Default RESULTS/report."),
    title: str = typer.Option(None, metavar="TEXT", help="Default the model's name."),
    run: Path = typer.Option(None, metavar="FOLDER", help="The run the model came from; default the one it lies in."),
    facts: Path = typer.Option(None, metavar="FILE", help="YAML with what is known of a training without a run."),
    against: list[Path] = typer.Option(
        [], metavar="FOLDER", help="Other results to compare with, the quantised model's for instance; may be repeated."
    ),
    energy: str = typer.Option(None, metavar="KWH", help="Energy of training and evaluation, or: unknown."),
    watts: float = typer.Option(
        None, metavar="W", help="Instead: mean power of all machines; times the hours of training and evaluation."
    ),
    carbon: float = typer.Option(None, metavar="KG", help="kg of CO2 equivalent a kWh."),
    markdown: bool = typer.Option(False, "--markdown", help="Also write report.md."),
    latex: bool = typer.Option(False, "--latex", help="Also write tables.tex."),
    show: bool = typer.Option(False, "--open", help="Open the page in a browser."),
) -> None:
    """Make one page of scores, prompts, comparisons, training, provenance and energy.

    It is refused, with all that is missing named at once, as long as anything is missing that others would need to
    judge the numbers or to do it again. What cannot be found out has to be said to be unknown.
    """
    from glm130b.reporting import gather, write_report

    found = gather(
        results,
        title=title,
        run=run,
        facts=facts,
        against=against,
        energy=energy,
        watts=watts,
        carbon=carbon,
    )
    files = write_report(found, out or results / "report", as_markdown=markdown, as_latex=latex)
    for file in files:
        typer.echo(f"Written: {file}")
    if show:
        typer.launch(files[0].resolve().as_uri())
