"""Help: there for every command, at once, in whole sentences."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, io, json, sys
import typer
from glm130b.cli.main import app

pages = {}

def visit(command, path):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            app([*path, "--help"], prog_name="glm")
            code = 0
        except SystemExit as end:
            code = end.code
    pages[" ".join(path)] = (code, out.getvalue())
    for name, below in getattr(command, "commands", {}).items():
        visit(below, [*path, name])

visit(typer.main.get_command(app), [])
heavy = sorted({"torch", "numpy", "sentencepiece"} & set(sys.modules))
print(json.dumps([pages, heavy]))
"""

COMMANDS = {
    "",
    "config",
    "config list",
    "config schedule",
    "config show",
    "convert",
    "data",
    "data build",
    "data decontaminate",
    "data show",
    "data verify",
    "demo",
    "eval",
    "eval audit",
    "eval compare",
    "eval export-harness",
    "eval harness",
    "eval heldout",
    "eval list",
    "eval prompts",
    "eval run",
    "eval show",
    "eval toxicity",
    "fill",
    "generate",
    "inspect",
    "mip",
    "mip build",
    "mip check",
    "mip show",
    "mip stats",
    "plan",
    "quant",
    "quant analyse",
    "quantize",
    "report",
    "runs",
    "runs explain",
    "runs sessions",
    "samples",
    "samples mixture",
    "samples show",
    "tokenizer",
    "tokenizer decode",
    "tokenizer encode",
    "tokenizer info",
    "tokenizer train",
    "train",
}


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, tuple[int, str]], list[str]]:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    pages, heavy = json.loads(done.stdout)
    return pages, heavy


def test_every_command_has_a_page(found: tuple[dict[str, tuple[int, str]], list[str]]) -> None:
    pages, _ = found
    assert set(pages) == COMMANDS
    assert {code for code, _ in pages.values()} == {0}


def test_help_loads_nothing_heavy(found: tuple[dict[str, tuple[int, str]], list[str]]) -> None:
    assert found[1] == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_page_reads_well(found: tuple[dict[str, tuple[int, str]], list[str]], command: str) -> None:
    text = found[0][command][1]
    assert text.startswith(f"Usage: glm {command}".rstrip())
    body = text.split("\n", 1)[1]
    assert re.search(r"[A-Z].*\.", body)
    assert "None" not in text
    for meant in ("[ARGS]...", "[...]", "inputs...", "ids..."):
        body = body.replace(meant, "")
    assert "..." not in body, "cut short"


def test_exit_codes_are_documented(found: tuple[dict[str, tuple[int, str]], list[str]]) -> None:
    text = " ".join(found[0][""][1].split())
    for words in ("2 wrong usage", "3 configuration", "4 text, data or tokenizer", "5 model or checkpoint", "6 disk"):
        assert words in text
