"""``glm config``: look at presets and merged configurations."""

from __future__ import annotations

import typer

from glm130b.cli.options import OVERRIDES

app = typer.Typer(help="Look at presets and merged configurations.", no_args_is_help=True)


@app.command()
def show(
    config: str = typer.Argument("tiny", metavar="CONFIG", help="A preset or a YAML file."),
    overrides: list[str] = OVERRIDES,
) -> None:
    """Print a configuration, merged and whole.

    Each value has the file and line, the --set or the default it comes from beside it.
    """
    from glm130b.config import load_config
    from glm130b.planning import parameter_count

    merged = load_config(config, overrides)
    run = merged.run
    typer.echo(merged.describe())
    typer.echo(f"# {parameter_count(run.model):,} parameters, {run.total_samples:,} sequences of {run.data.seq_length}")


@app.command()
def schedule(
    config: str = typer.Argument("tiny", metavar="CONFIG", help="A preset or a YAML file."),
    overrides: list[str] = OVERRIDES,
) -> None:
    """Print the schedules of a run as a table.

    Where warm-up, batch ramp, alpha and mixture begin and end, in absolute samples, and what holds from there on.
    """
    from glm130b.config import load_config
    from glm130b.training import schedule_table, table_text

    typer.echo(table_text(schedule_table(load_config(config, overrides).run)))


@app.command("list")
def list_presets() -> None:
    """List the presets."""
    from glm130b.config import load_config, preset_names
    from glm130b.planning import parameter_count

    found = {name: parameter_count(load_config(name).run.model) for name in preset_names()}
    for name in sorted(found, key=lambda name: found[name]):
        typer.echo(f"{name:<8}{found[name] / 1e6:>12,.1f} M parameters")
