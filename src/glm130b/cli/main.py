"""Entry point: the list of commands, and errors turned into sentences and exit codes."""

from __future__ import annotations

import sys

import typer

from glm130b import __version__
from glm130b.cli import (
    config,
    convert,
    data,
    decontaminate,
    demo,
    evaluate,
    fill,
    inspect,
    mip,
    plan,
    quant,
    quantize,
    report,
    runs,
    samples,
    tokenizer,
    train,
)
from glm130b.errors import GLMError

_EPILOG = (
    "Exit codes: 0 done; 1 a bug; 2 wrong usage; 3 configuration; 4 text, data or tokenizer; "
    "5 model or checkpoint; 6 disk, memory or device; 130 and 143 stopped by a signal, saved; "
    "200 start again, a machine that the job needs is gone."
)

app = typer.Typer(
    help="GLM-130B in the open: pre-train, quantise and use English-Chinese blank-infilling models.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(short_help="Train a small model from nothing and report on it.")(demo.demo)
app.command()(train.train)
app.command(short_help="Fill the blanks of a text.")(fill.fill)
app.command()(fill.generate)
app.command(short_help="Say what a training or a model would take.")(plan.plan)
app.command(short_help="Write a copy with INT8 or INT4 weights.")(quantize.quantize)
app.add_typer(quant.app, name="quant")
app.command(short_help="Convert official checkpoints and model folders.")(convert.convert)
app.command(short_help="Show what a folder of weights holds.")(inspect.inspect)
app.add_typer(evaluate.app, name="eval")
app.command(short_help="Make one page of results, training and energy.")(report.report)
data.app.command(short_help="Find passages of test sets in documents.")(decontaminate.decontaminate)
app.add_typer(data.app, name="data")
app.add_typer(mip.app, name="mip")
app.add_typer(runs.app, name="runs")
app.add_typer(samples.app, name="samples")
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(config.app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"glm130b {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line; ends the process with a documented exit code."""
    try:
        app()
    except GLMError as error:
        typer.echo(f"Error: {error.problem}", err=True)
        if error.next_step:
            typer.echo(error.next_step, err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)
        sys.exit(130)
