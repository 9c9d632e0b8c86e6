"""From folders to files: gathers what a report needs, refuses if something is missing, writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation import Results, Row, compare_results, read_results, weights_digest
from glm130b.files import write_whole
from glm130b.reporting.energy import Energy, energy_of
from glm130b.reporting.provenance import Training, known, merged, missing, read_facts, skeleton
from glm130b.reporting.run_facts import RunFacts, read_run


@dataclass(frozen=True)
class Compared:
    """Other results beside the reported ones.

    Attributes:
        results: the others; rows take the reported model as A and the other one as B.
    """

    folder: Path
    results: Results
    rows: Sequence[Row]


@dataclass(frozen=True)
class Report:
    """All that a report tells.

    Attributes:
        run: the run that the model came from; None if there is none at hand.
        is_checkpoint: whether the measured weights are those of the run's checkpoint; if not, they were made
            from one of it.
    """

    folder: Path
    title: str
    results: Results
    training: Training
    energy: Energy
    run: RunFacts | None
    is_checkpoint: bool
    compared: Sequence[Compared]


def gather(
    folder: Path,
    *,
    title: str | None = None,
    run: Path | None = None,
    facts: Path | None = None,
    against: Sequence[Path] = (),
    energy: str | None = None,
    watts: float | None = None,
    carbon: float | None = None,
) -> Report:
    """Read everything a report is made of.

    Args:
        folder: of results.
        title: default the model's name.
        run: default the one that the results name.
        facts: a YAML file with what results and run do not say.
        against: other results, such as the quantised model's.
        energy, watts, carbon: see ``energy_of``.

    Raises:
        ConfigError: something that a report has to say is missing; all of it is named at once.
        DataError, ModelError: a folder is not what it should be.
    """
    results = read_results(folder)
    named = run or (Path(results.model.run) if results.model.run else None)
    source, is_checkpoint = None, False
    if named is not None and (run is not None or (named / "config.yaml").is_file()):
        checkpoint = _measured(named, results, folder)
        source, is_checkpoint = read_run(named, checkpoint), checkpoint is not None
    given = read_facts(facts) if facts else Training()
    training = merged(source.training, given) if source else given
    hours = known(training.hours)
    spent = None
    if not (watts is not None and training.hours is None):
        spent = energy_of(
            energy,
            watts,
            carbon,
            training_hours=hours if isinstance(hours, float) else None,
            evaluation_hours=results.seconds / 3600,
        )
    _refuse_missing(results, training, watts is not None or spent is not None)
    assert spent is not None
    return Report(
        folder=folder,
        title=title or Path(results.model.path).resolve().name,
        results=results,
        training=training,
        energy=spent,
        run=source,
        is_checkpoint=is_checkpoint,
        compared=[Compared(other, read_results(other), compare_results(folder, other)) for other in against],
    )


def write_report(report: Report, out: Path, *, as_markdown: bool = False, as_latex: bool = False) -> list[Path]:
    """Write ``report.html`` and, if asked, ``report.md`` and ``tables.tex``; each is whole or not there.

    Raises:
        ResourceError: the disk is full or not writable.
    """
    from glm130b.reporting.page import page
    from glm130b.reporting.tables import latex, markdown

    texts = {"report.html": page(report)}
    if as_markdown:
        texts["report.md"] = markdown(report.title, report.results, report.training, report.energy)
    if as_latex:
        texts["tables.tex"] = latex(report.results, report.training, report.energy)
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


def _measured(run: Path, results: Results, cache: Path) -> Path | None:
    """The run's checkpoint that was measured, by the digest of its weights; the newest that has it."""
    model = Path(results.model.path)
    found = sorted((run / "checkpoints").glob("step-*"), reverse=True)
    first = [one for one in found if one.resolve() == model.resolve()]
    for checkpoint in (*first, *found):
        if (checkpoint / "config.json").is_file() and weights_digest(checkpoint, cache) == results.model.weights:
            return checkpoint
    return None


def _refuse_missing(results: Results, training: Training, has_energy: bool) -> None:
    measured = list(_missing_of(results))
    wanted = missing(training)
    names = [*measured, *wanted, *([] if has_energy else ["energy"])]
    if not names:
        return
    problem = f"The report would lack {', '.join(names)}."
    if measured:
        raise DataError(problem, "Run the evaluation anew with `glm eval run`, which notes what it reads and runs on.")
    steps = [] if has_energy else ["Give --energy KWH, or --watts W, or --energy unknown."]
    if wanted:
        steps.append(
            "Give --run FOLDER if the run is at hand; else write the rest into a file for --facts FILE.yaml, where the "
            f"word unknown stands for what cannot be found out:\n\n{skeleton(training)}"
        )
    raise ConfigError(problem, " ".join(steps))


def _missing_of(results: Results) -> list[str]:
    model = results.model
    required = {
        "evaluation.weights": model.weights,
        "evaluation.tokenizer": model.tokenizer,
        "evaluation.precision": model.precision,
        "evaluation.device": model.device,
        "evaluation.code": results.code.get("hash") or results.code.get("commit"),
        "evaluation.software": results.software,
        "evaluation.hardware": results.hardware,
        "evaluation.started": results.started,
    }
    names = [name for name, value in required.items() if not value]
    names += [f"evaluation.files.{task.name}" for task in results.tasks if not task.files]
    return names + [f"evaluation.licence.{task.name}" for task in results.tasks if not task.licence]
