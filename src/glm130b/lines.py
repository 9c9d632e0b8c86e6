"""Lines of local files, JSON and YAML, and faults named by file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from glm130b.errors import ConfigError, DataError

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NEXT = "Mend or remove that line, or give the dataset its format."


def fault(path: Path, line: int, reason: str, next_step: str = _NEXT) -> DataError:
    """What is wrong with one line of a file, and what to do about it."""
    return DataError(f"{path}, line {line}: {reason}.", next_step)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line, without its end; ``.gz`` is unpacked on the way.

    Raises:
        DataError: unreadable, or not UTF-8.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as data:
            for number, raw in enumerate(data, start=1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, text.rstrip("\r\n")
    except UnicodeDecodeError:
        raise DataError(f"{path}, line {number}, is not UTF-8.", "Convert the file, with iconv for example.") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}.", "Check the file, or copy it again.") from None


def read_json_file(path: Path) -> Any:
    """A whole JSON file.

    Raises:
        DataError: unreadable, not UTF-8, not JSON.
    """
    text = "\n".join(line for _, line in read_lines(path))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise fault(path, error.lineno, f"this is not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise fault(path, 1, f"this JSON cannot be read ({error})") from None


def read_json_line(path: Path, number: int, line: str) -> dict[str, Any]:
    """One line of JSON lines, which has to be an object.

    Raises:
        DataError: it is something else.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise fault(path, number, f"this is not JSON ({error})") from None
    if not isinstance(record, dict):
        raise fault(path, number, "this is no JSON object")
    return record


def read_yaml_file(path: Path) -> Any:
    """A whole YAML file of plain values, which a user wrote.

    Raises:
        ConfigError: unreadable, not UTF-8, not YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_YAML)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read: {reason}.", "Check the path.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}{where}: this is not YAML.", "Mend the file.") from None


def blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Groups of lines with blank lines between, each with the number of its first line."""
    first = 1
    block: list[str] = []
    for number, line in read_lines(path):
        if line.strip():
            if not block:
                first = number
            block.append(line)
        elif block:
            yield first, block
            block = []
    if block:
        yield first, block


def files_of(paths: Sequence[str], suffixes: tuple[str, ...]) -> list[Path]:
    """Files as given, and those of folders that end in one of ``suffixes``, sorted by name.

    Raises:
        DataError: a path is missing, or a folder has no such file.
    """
    found: list[Path] = []
    for given in map(Path, paths):
        inside = sorted(path for path in given.rglob("*") if path.name.endswith(suffixes)) if given.is_dir() else []
        if not given.exists():
            raise DataError(f"There is no file or folder {given}.", "Check the path of the dataset.")
        if given.is_dir() and not inside:
            raise DataError(f"{given} holds no file that ends in {' or '.join(suffixes)}.", "Check path and format.")
        found += inside or [given]
    return found
