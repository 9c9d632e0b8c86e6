"""``glm runs``: what happened in a run, from its ledger."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from glm130b.training import Explanation, Session

app = typer.Typer(help="Look up what happened in a run.", no_args_is_help=True)

_RUN = typer.Argument(metavar="RUN", help="The folder of a run.")
_JSON = typer.Option(False, "--json", help="Print JSON.")
_MANY_HOSTS, _FEW_HOSTS = 16, 3
_NO_WORD = "no word: killed, or still running"


@app.command()
def explain(
    run: Path = _RUN,
    step: int = typer.Option(..., "--step", min=1, metavar="N", help="Number of the step, counted from 1."),
    config: bool = typer.Option(False, "--config", help="Also print the whole configuration in force."),
    as_json: bool = _JSON,
) -> None:
    """Say how a step of a run came about.

    Its data, rates and loss; the code, hosts and layout; the checkpoints that led to it, back to the start;
    and attempts at the same step that were given up.
    """
    from glm130b.training import explain

    found = explain(run, step)
    if as_json:
        typer.echo(json.dumps(_tree(found), ensure_ascii=False, indent=2))
        return
    for label, text in _rows(found, run):
        typer.echo(f"{label:<15}{text}".rstrip())
    if config:
        import yaml

        typer.echo("\n" + yaml.safe_dump(found.session.config, sort_keys=False, allow_unicode=True).rstrip())


@app.command()
def sessions(run: Path = _RUN, as_json: bool = _JSON) -> None:
    """List the starts of a run.

    When each was, which steps it took, where, and why it ended if that is known.
    """
    from glm130b.training import read_sessions

    found = read_sessions(run)
    if as_json:
        typer.echo(json.dumps([_session_tree(session) for session in found], ensure_ascii=False, indent=2))
        return
    rows = [("session", "started (UTC)", "steps", "layout", "hosts", "ended")]
    for session in found:
        hosts = list(session.line["hosts"])
        rows.append(
            (
                str(session.number),
                _time(session.line),
                _steps(session),
                _layout(session),
                hosts[0] if len(hosts) == 1 else f"{hosts[0]} and {len(hosts) - 1} more",
                session.ended or _NO_WORD,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _rows(found: Explanation, run: Path) -> Iterator[tuple[str, str]]:
    line, session, about = found.line, found.session, found.session.line
    yield f"step {line['step']}", f"of {run}, session {session.number}, {_time(line)} UTC"
    if not found.stands:
        yield "", "given up: the run went back to a checkpoint before it"
    yield "applied", "yes" if line["applied"] else "no: the gradients overflowed"
    yield "sequences", _stretches(line)
    yield "samples", f"{line['samples']:,} drawn and {line['trained']:,} trained on after it"
    yield "loss", _number(line["loss"])
    yield "gradient norm", "not finite" if line["grad_norm"] is None else _number(line["grad_norm"])
    yield "learning rate", _number(line["learning_rate"])
    yield "batch size", f"{line['batch_size']:,} sequence{'' if line['batch_size'] == 1 else 's'}"
    yield "alpha", _number(line["alpha"])
    yield "loss scale", _number(line["loss_scale"])
    yield "layout", _layout(session)
    yield from _listed("hosts", _hosts(about["hosts"]))
    yield "code", f"glm130b {about['version']}, SHA-256 {about['code']}"
    if about["commit"]:
        yield "", f"commit {about['commit']}"
    yield "", f"torch {about['torch']}, Python {about['python']}"
    yield from _listed("lineage", [text for session in found.lineage for text in _origin(session)])
    yield from _listed("given up", [_attempt(*attempt) for attempt in found.abandoned])
    yield from _listed("events", [event["text"] for event in found.events])


def _listed(label: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        yield label if number == 0 else "", text


def _hosts(hosts: dict[str, list[int]]) -> list[str]:
    texts = [f"{host} ({'rank' if len(ranks) == 1 else 'ranks'} {_ranges(ranks)})" for host, ranks in hosts.items()]
    if len(texts) > _MANY_HOSTS:
        texts[_FEW_HOSTS:] = [f"and {len(texts) - _FEW_HOSTS} more (--json names them)"]
    return textwrap.wrap(", ".join(texts), 100)


def _origin(session: Session) -> Iterator[str]:
    resumed = session.line["resumed"]
    whence = "from nothing"
    if resumed:
        whence = f"from {resumed['checkpoint']}"
        whence += " of an unknown session" if session.parent is None else f" of session {session.parent}"
    yield f"session {session.number}, {_time(session.line)} UTC, {whence}"
    for key, (was, now) in session.changes.items():
        yield f"  {key}: {_value(was)} -> {_value(now)}"


def _attempt(session: Session, line: dict[str, Any]) -> str:
    overflowed = "" if line["applied"] else ", not applied"
    return (
        f"session {session.number}, {_time(line)} UTC: loss {_number(line['loss'])}, "
        f"learning rate {_number(line['learning_rate'])}, sequences {_stretches(line)}{overflowed}"
    )


def _stretches(line: dict[str, Any]) -> str:
    return " and ".join(f"{a:,}" if a == b else f"{a:,} to {b:,}" for a, b in line["sequences"])


def _steps(session: Session) -> str:
    first, last = session.begun_after + 1, session.last_step
    return f"{first:,} to {last:,}" if first <= last else "none"


def _layout(session: Session) -> str:
    layout = dict(session.line["layout"])
    world = layout.pop("world")
    if world == 1:
        return "1 process"
    return " x ".join(f"{axis} {size}" for axis, size in layout.items()) + f", {world} ranks"


def _ranges(ranks: list[int]) -> str:
    """``0-3, 8`` for 0, 1, 2, 3, 8."""
    starts = [rank for rank in ranks if rank - 1 not in ranks]
    ends = [rank for rank in ranks if rank + 1 not in ranks]
    return ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in zip(starts, ends, strict=True))


def _time(line: dict[str, Any]) -> str:
    return str(line["time"]).removesuffix("+00:00").replace("T", " ")


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _value(value: Any) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _session_tree(session: Session) -> dict[str, Any]:
    about = {name: value for name, value in session.line.items() if name not in ("kind", "previous", "config")}
    return {**about, "changes": session.changes, "last_step": session.last_step, "ended": session.ended}


def _tree(found: Explanation) -> dict[str, Any]:
    return {
        **{name: value for name, value in found.line.items() if name not in ("kind", "previous")},
        "stands": found.stands,
        "config": found.session.config,
        "lineage": [_session_tree(session) for session in found.lineage],
        "given_up": [{**line, "code": session.line["code"]} for session, line in found.abandoned],
        "events": [{"time": event["time"], "text": event["text"]} for event in found.events],
    }
