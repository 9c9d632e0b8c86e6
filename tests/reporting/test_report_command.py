"""``glm report`` on a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from made_results import FACTS, task_of, write
from typer.testing import CliRunner

from glm130b.cli.main import app
from glm130b.errors import ConfigError, DataError


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(typer, "launch", found.append)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "eval", [task_of("one", (0.5,))])
    (tmp_path / "facts.yaml").write_text(FACTS, encoding="utf-8")
    return tmp_path / "eval"


def test_the_page_lies_beside_the_results(folder: Path, launched: list[str]) -> None:
    arguments = ["report", str(folder), "--facts", str(folder.parent / "facts.yaml"), "--energy", "12.5"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.split() == ["Written:", str(folder / "report" / "report.html")]
    assert "12.5 kWh" in (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert launched == []
    again = CliRunner().invoke(app, [*arguments, "--open", "--out", str(folder / "other"), "--markdown", "--latex"])
    assert again.exit_code == 0, again.output
    assert launched == [(folder / "other" / "report.html").resolve().as_uri()]
    assert len(list((folder / "other").iterdir())) == 3


def test_refused_it_leaves_nothing(folder: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert isinstance(done.exception, ConfigError)
    assert not (folder / "report").exists()


def test_no_results(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert isinstance(done.exception, DataError)


def test_results_with_nothing_in_common(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", [task_of("two", (0.5,))])
    arguments = ["report", str(folder), "--facts", str(tmp_path / "facts.yaml"), "--energy", "1"]
    done = CliRunner().invoke(app, [*arguments, "--against", str(tmp_path / "other")])
    assert isinstance(done.exception, DataError)
    assert not (folder / "report").exists()
