"""What a run's own files say of how its model was trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glm130b.config import DataConfig, RunConfig, load_config
from glm130b.corpus import open_prepared, read_ledger
from glm130b.errors import DataError, ModelError
from glm130b.files import read_json
from glm130b.instructions import InstructionStore
from glm130b.reporting.consumed import Consumed, read_mixture
from glm130b.reporting.provenance import UNKNOWN, Source, Training
from glm130b.training import Record, Session, latest_checkpoint, read_metrics, read_sessions

_STATE, _CORPUS_LEDGER = "training_state.json", "data_ledger.json"


@dataclass(frozen=True)
class Instructed:
    """One dataset of the instruction data."""

    store: str
    name: str
    examples: int
    prompts: int
    licence: str
    spoils: tuple[str, ...]


@dataclass(frozen=True)
class RunFacts:
    """A run, as far as it led to one checkpoint.

    Attributes:
        text: of ``config.yaml``, which says where each setting is from.
        step: of the checkpoint.
        records: lines of ``metrics.jsonl`` up to it.
        phases: the sample at which each phase of the mixture starts.
        corpora: ledgers of the built corpora that sources lie in, by name of the folder.
    """

    folder: Path
    config: RunConfig
    text: str
    step: int
    sequences: int
    sessions: Sequence[Session]
    records: Sequence[Record]
    phases: tuple[int, ...]
    mixture: tuple[Consumed, ...]
    instructed: tuple[Instructed, ...]
    corpora: Mapping[str, Mapping[str, Any]]
    training: Training


def read_run(run: Path, model: Path | None = None) -> RunFacts:
    """Read a run's folder.

    Args:
        model: the checkpoint that was measured; if it is none of a run's, the newest counts.

    Raises:
        ModelError, ConfigError, DataError: the run has no checkpoint, or its files are missing or damaged.
    """
    config = load_config(run / "config.yaml").run
    checkpoint = _checkpoint(run, model)
    state = read_json(checkpoint / _STATE, ModelError)
    sessions = read_sessions(run)
    stores = {name: _store(source.path) for name, source in config.data.active_instructions.items()}
    phases, mixture = read_mixture(run, config, state, stores)
    tokens = int(state["samples"]) * config.data.seq_length
    return RunFacts(
        folder=run,
        config=config,
        text=(run / "config.yaml").read_text(encoding="utf-8"),
        step=int(state["step"]),
        sequences=int(state["samples"]),
        sessions=sessions,
        records=[record for record in read_metrics(run / "metrics.jsonl") if record["step"] <= state["step"]],
        phases=phases,
        mixture=mixture,
        instructed=tuple(_instructed(stores)),
        corpora=_corpora(run, config.data),
        training=_training(run, config, sessions, mixture, tokens),
    )


def _checkpoint(run: Path, model: Path | None) -> Path:
    if model is not None and (model / _STATE).is_file():
        return model
    newest = latest_checkpoint(run)
    if newest is None:
        raise ModelError(f"{run} has no checkpoint.", "Give the run that the model came from, with --run.")
    return newest


def _training(
    run: Path, config: RunConfig, sessions: Sequence[Session], mixture: Sequence[Consumed], tokens: int
) -> Training:
    about = sessions[-1].line
    environment = read_json(run / "environment.json", ModelError)
    hosts, layout = about["hosts"], dict(about["layout"])
    commit = f"commit {about['commit']}, " if about["commit"] else ""
    world = layout.pop("world")
    tree = config.model_dump(mode="json")
    return Training(
        code=f"glm130b {about['version']}, {commit}SHA-256 {about['code']}",
        software=f"Python {about['python']}, PyTorch {about['torch']}, {environment['platform']}",
        hardware=f"{len(hosts)} host{'s' if len(hosts) > 1 else ''} of {environment['cores']} cores, "
        f"{environment['device']}",
        layout=", ".join(f"{axis} {size}" for axis, size in layout.items()) + f"; {world} in all",
        precision=config.train.precision,
        seed=config.seed,
        hours=sum(session.seconds for session in sessions) / 3600,
        tokens=tokens,
        hyperparameters=flat({key: tree[key] for key in ("model", "objective", "train", "parallel")})
        | {"data.seq_length": config.data.seq_length, "data.order": config.data.order},
        data=tuple(
            Source(name=row.name, planned=row.planned[0], consumed=row.tokens, sha256=row.sha256) for row in mixture
        ),
    )


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key; lists are leaves."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def _store(path: str) -> InstructionStore | None:
    try:
        return InstructionStore(path)
    except DataError:
        return None  # the folder was moved; what was consumed follows from the configuration


def _instructed(stores: Mapping[str, InstructionStore | None]) -> Iterator[Instructed]:
    for name, store in stores.items():
        for dataset, facts in store.manifest["datasets"].items() if store else ():
            licence = str(facts["license"] or UNKNOWN)
            yield Instructed(name, dataset, facts["examples"], len(facts["prompts"]), licence, tuple(facts["seen"]))


def _corpora(run: Path, data: DataConfig) -> dict[str, Mapping[str, Any]]:
    """Ledgers that can still be read."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in open_prepared(run / "data", list(data.active_sources)).entries.values():
        if not entry["in_place"]:
            continue
        path = Path(entry["path"])
        folder = next((one for one in (path, *path.parents[:2]) if (one / _CORPUS_LEDGER).is_file()), None)
        if folder is not None and folder.name not in found:
            try:
                found[folder.name] = read_ledger(folder)
            except DataError:
                continue
    return found
