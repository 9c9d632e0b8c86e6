"""``glm train``: the launcher of a job's processes, or one of them."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from glm130b.cli.options import OVERRIDES

if TYPE_CHECKING:
    from glm130b.config import MergedConfig
    from glm130b.corpus import PreparedCorpus
    from glm130b.launch import Machines, Worker
    from glm130b.parallel import World
    from glm130b.tokenization import Tokenizer
    from glm130b.training import Outcome


def train(
    config: str = typer.Argument(metavar="CONFIG", help="A preset (see `glm config list`) or a YAML file."),
    out: Path = typer.Option(
        ..., metavar="FOLDER", help="The run's folder: configuration, metrics, checkpoints, logs."
    ),
    overrides: list[str] = OVERRIDES,
    resume: str = typer.Option(
        "auto",
        metavar="WHENCE",
        help="auto: from the newest checkpoint in --out; none; or a checkpoint folder, which deletes later ones.",
    ),
    device: str = typer.Option(None, metavar="NAME", help="cpu, cuda, cuda:1, …; default as the configuration says."),
    nproc: str = typer.Option(
        "auto", metavar="N", help="Processes on this machine; auto: one for each GPU, else as the configuration says."
    ),
    nodes: str = typer.Option(None, metavar="N|MIN:MAX", help="Of several machines, how many; see docs/cluster.md."),
    rendezvous: str = typer.Option(
        None, metavar="HOST:PORT", help="Of several machines, where they meet: one of them, and a free port there."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what the run would take, and train nothing."),
    ranks: int = typer.Option(None, min=1, metavar="N", help="With --dry-run: processes of the whole job."),
) -> None:
    """Pre-train a model by blank infilling.

    Stopped or killed, the same command resumes from the newest checkpoint.
    """
    from glm130b.config import load_config
    from glm130b.launch import Machines, is_worker, num_processes

    merged = load_config(config, overrides)
    place = device or merged.run.train.device
    given = {"--device": device, "--nodes": nodes, "--rendezvous": rendezvous}
    if ranks and not dry_run:
        raise typer.BadParameter(
            "It goes with --dry-run; how many processes a job has, --nproc says.", param_hint="--ranks"
        )
    if dry_run:
        _tell_what_it_takes(merged, out, ranks)
        return
    if nproc != "auto":
        given["--nproc"] = nproc
    words = ["train", config, "--out", str(out), *(word for text in overrides for word in ("--set", text))]
    words += [word for name, value in given.items() if value for word in (name, value)]
    if not is_worker():
        machines = Machines.parse(nodes, rendezvous)
        count = num_processes(_number(nproc), merged.run.parallel, place, machines)
        if count > 1 or not machines.alone:
            raise typer.Exit(_launch(merged, out, [*words, "--resume", resume], count, machines))
    _train(merged, out, place, resume, f"glm {shlex.join(words)}")


def _tell_what_it_takes(merged: MergedConfig, out: Path, ranks: int | None) -> None:
    from glm130b.launch import fit_to_world, quiet_torch

    with quiet_torch():
        from glm130b.training import preflight_report

    fitted = fit_to_world(merged, ranks) if ranks else None
    typer.echo(preflight_report(fitted.merged.run if fitted else merged.run, ranks, run=out))
    if fitted and fitted.note:
        typer.echo(fitted.note)


def _launch(merged: MergedConfig, out: Path, words: list[str], nproc: int, machines: Machines) -> int:
    """Start the job's processes on this machine, if what they are to do can be done at all."""
    from glm130b.files import disk_error
    from glm130b.launch import fit_to_world, launch, quiet_torch

    with quiet_torch():
        from glm130b.training import check_layout, check_mixture

    fitted = fit_to_world(merged, nproc).merged if machines.alone else merged
    check_layout(fitted.run)
    check_mixture(fitted.run)
    command = [sys.executable, "-m", "glm130b", *words]
    try:
        return launch(command, out, merged.run.elastic, nproc=nproc, machines=machines)
    except ConnectionError:
        raise
    except OSError as error:
        raise disk_error(out, error) from error


def _number(nproc: str) -> int | None:
    if nproc == "auto":
        return None
    if not nproc.isdecimal() or int(nproc) == 0:
        raise typer.BadParameter(f"{nproc} is neither auto nor a number of processes.", param_hint="--nproc")
    return int(nproc)


def _train(merged: MergedConfig, out: Path, place: str, resume: str, again: str) -> None:
    """Train as one of the job's ranks, or as the only one."""
    from glm130b.cli.progress import TrainingProgress
    from glm130b.launch import LaunchFolder, fit_to_world, own_device, process_group, worker
    from glm130b.model import checked_device
    from glm130b.parallel import World
    from glm130b.tokenization import Tokenizer
    from glm130b.training import choose_checkpoint, fits, preflight, run_lock, train

    with worker(out, merged.run.elastic) as me:
        device = checked_device(own_device(me, place))
        fitted = me.share(lambda: fit_to_world(merged, me.world_size, fits=fits(merged.run, device)))
        if me.rank >= fitted.num_ranks:
            me.stand_by()
            return
        merged = fitted.merged
        with process_group(me, device, fitted.num_ranks):
            world = World.current()
            warnings = preflight(merged.run, out, device, world)
            with run_lock(out) if me.first else nullcontext():
                found = choose_checkpoint(out, me.resume or resume) if me.first else None
                checkpoint = world.gather(found)[0]
                tokenizer = Tokenizer.load(merged.run.data.tokenizer)
                tokenizer.check_fits(merged.run.model.vocab_size)
                corpus = _open_corpus(merged, out, tokenizer, me, world)
                events = [fitted.note] if fitted.note else []
                for text in [*events, *(f"Note: {warning}" for warning in warnings)] if me.first else ():
                    typer.echo(text)
                if me.first and (cause := LaunchFolder(out).restart_cause()):
                    events.append(f"Started anew: {cause}.")
                with TrainingProgress(merged.run) if me.first else nullcontext() as progress:
                    outcome = train(
                        merged,
                        out,
                        tokenizer,
                        corpus,
                        device=device,
                        resume=checkpoint,
                        reporter=progress,
                        beat=me.beat,
                        events=events,
                    )
    if me.first:
        _report(outcome, out, again)
    if outcome.stopped_by is not None:
        raise typer.Exit(128 + outcome.stopped_by)


def _open_corpus(merged: MergedConfig, out: Path, tokenizer: Tokenizer, me: Worker, world: World) -> PreparedCorpus:
    """The run's tokens, which the first rank makes while the others wait."""
    from glm130b.cli.progress import preparing, tell_passed_over
    from glm130b.corpus import Document, open_prepared, prepare

    if not me.first:
        me.beat("waiting", 0)
        world.barrier()
        me.beat("start", 0)
        return open_prepared(out / "data", list(merged.run.data.active_sources))
    with preparing() as note:

        def progress(source: str, document: Document) -> None:
            me.beat("start", 0)
            note(source, document)

        corpus = prepare(merged.run.data, tokenizer, out / "data", progress=progress)
    tell_passed_over(corpus.too_short(merged.run.data), merged.run.data.text_length)
    world.barrier()
    return corpus


def _report(outcome: Outcome, out: Path, again: str) -> None:
    if outcome.stopped_by is None:
        typer.echo(f"Done after step {outcome.progress.step}: {outcome.checkpoint}")
        typer.echo(f"Try: glm fill {shlex.quote('The capital of France is [MASK].')} --model {shlex.quote(str(out))}")
    else:
        typer.echo(f"Stopped after step {outcome.progress.step}, saved {outcome.checkpoint}. Resume with:\n  {again}")
