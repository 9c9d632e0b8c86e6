"""Which room may know which, and how large a file may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "glm130b"
FILES = sorted(PACKAGE.rglob("*.py"))

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "draws": set(),
    "chart": set(),
    "lines": set(),
    "code_hash": set(),
    "config": set(),
    "tokenization": {"config"},
    "corpus": {"config", "tokenization"},
    "planning": {"config"},
    "instructions": {"config", "tokenization", "corpus"},
    "samples": {"config", "corpus", "instructions", "tokenization"},
    "model": {"config", "kernels"},
    "parallel": {"config", "model", "planning"},
    "training": {"config", "tokenization", "corpus", "samples", "model", "parallel", "planning"},
    "launch": {"config"},
    "kernels": set(),
    "quantization": {"config", "model", "kernels"},
    "offload": {"config", "model"},
    "interop": {"config", "planning", "tokenization", "model", "quantization", "offload"},
    "inference": {"config", "tokenization", "model", "quantization", "kernels"},
    "evaluation": {"config", "planning", "tokenization", "instructions", "interop", "model", "inference"},
    "reporting": {"config", "corpus", "instructions", "samples", "training", "evaluation"},
}
ROOMS["demo"] = set(ROOMS)
ROOMS["cli"] = set(ROOMS)
FOR_ALL = {"errors", "files", "draws", "chart", "lines", "code_hash", ""}
"""The empty name is the package itself: its version and ``load``."""

FRONT_DOORS = {"__init__.py": {"interop"}, "__main__.py": {"cli"}}
"""Files outside the rooms, and what they open."""


def imported_rooms(tree: ast.AST, package: tuple[str, ...] = ("glm130b",)) -> set[str]:
    """Rooms imported anywhere in a file, inside functions and under TYPE_CHECKING too."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join((*parent, *([node.module] if node.module else [])))
            names += [f"{start}.{alias.name}" for alias in node.names] if start == "glm130b" else [start]
    parts = [name.split(".") for name in names if name.split(".")[0] == "glm130b"]
    rooms = {part[1] if len(part) > 1 else "" for part in parts}
    return {room if room in ROOMS or (PACKAGE / room).is_dir() else "" for room in rooms}


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("import glm130b", {""}),
        ("from glm130b import __version__", {""}),
        ("from glm130b import cli, errors", {"cli", "errors"}),
        ("import torch, glm130b.model.glm as g", {"model"}),
        ("from glm130b.config.schema import Section", {"config"}),
        ("def f():\n    from glm130b.demo import x", {"demo"}),
        ("if TYPE_CHECKING:\n    from glm130b.model import GLM", {"model"}),
        ("from ..training import train", {"training"}),
        ("from . import loop", {"samples"}),
        ("from .. import planning", {"planning"}),
        ("import glm130bother, numpy", set()),
    ],
)
def test_imports_are_found(source: str, rooms: set[str]) -> None:
    assert imported_rooms(ast.parse(source), ("glm130b", "samples")) == rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_knows_only_the_rooms_above_it(path: Path) -> None:
    inside = path.relative_to(PACKAGE)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if inside.name in FRONT_DOORS and len(inside.parts) == 1:
        allowed = FRONT_DOORS[inside.name]
        room = ""
    else:
        room = inside.parts[0].removesuffix(".py")
        assert room in ROOMS, f"{room} is a new room: give it its place in this table and in docs/architecture.md"
        allowed = ROOMS[room]
    found = imported_rooms(tree, ("glm130b", *inside.parts[:-1]))
    assert found <= allowed | FOR_ALL | {room}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_can_be_held_in_the_head(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("module", ["glm130b", "glm130b.cli.main"])
def test_the_command_line_starts_light(module: str) -> None:
    heavy = {"torch", "numpy", "sentencepiece", "pydantic"}
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
