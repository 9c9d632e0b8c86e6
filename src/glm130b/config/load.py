"""From YAML files, presets and ``--set`` to one validated tree that remembers where each value came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import ValidationError

from glm130b.config.explain import Key, explain
from glm130b.config.schema import RunConfig
from glm130b.config.section import Section
from glm130b.errors import ConfigError

_PRESETS = Path(__file__).resolve().parent.parent / "configs"

Root = TypeVar("Root", bound=Section)
"""What a file describes: a run, or one of the other trees a command takes."""

Leaves = dict[Key, tuple[Any, str]]
"""Every leaf of the tree: its dotted path, value and origin."""


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


@dataclass(frozen=True)
class Merged(Generic[Root]):
    """A validated tree and the origin of each value that is not a default."""

    root: Root
    origins: dict[Key, str]

    def tree(self) -> dict[str, Any]:
        """The whole tree as plain YAML values."""
        return self.root.model_dump(mode="json")

    def describe(self) -> str:
        """The whole tree as YAML, each value with its origin in a comment."""
        lines: list[tuple[str, str]] = []
        for path, value, is_leaf in _walk(self.tree()):
            indent = "  " * (len(path) - 1)
            if is_leaf:
                lines.append((f"{indent}{_scalar(path[-1])}: {_scalar(value)}", self.origins.get(path, "default")))
            else:
                lines.append((f"{indent}{_scalar(path[-1])}:", ""))
        width = max(len(text) for text, origin in lines if origin) + 2
        return "\n".join(f"{text:<{width}}# {origin}" if origin else text for text, origin in lines)


class MergedConfig(Merged[RunConfig]):
    """A validated run and the origin of each value that is not a default."""

    @property
    def run(self) -> RunConfig:
        """The run itself."""
        return self.root


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> MergedConfig:
    """Read a run's configuration; everything else as ``load_tree``."""
    merged = load_tree(RunConfig, source, overrides)
    return MergedConfig(merged.root, merged.origins)


def load_tree(kind: type[Root], source: str | Path | None, overrides: Sequence[str] = ()) -> Merged[Root]:
    """Read a preset or YAML file, follow ``extends``, apply ``a.b=c`` overrides and validate.

    Args:
        kind: what the file describes.
        source: name of a preset, or path of a YAML file; None for defaults and overrides only.
        overrides: texts such as ``train.max_steps=60``; a mapping replaces what is below its key.

    Raises:
        ConfigError: file missing, YAML malformed, key unknown, or value out of bounds.
    """
    leaves: Leaves = {}
    if source is not None:
        _merge(leaves, _read(_locate(str(source)), ()))
    for text in overrides:
        _put_tree(leaves, *_parse_override(text), "--set")
    return _validate(kind, leaves)


def _locate(name: str, relative_to: Path = Path(), where: str = "") -> Path:
    path, preset = relative_to / name, _PRESETS / f"{name}.yaml"
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise ConfigError(f"{where}{path} cannot be read: {error.strerror}.", "Check the path.") from None
    if name in preset_names():
        return preset
    close = difflib.get_close_matches(path.stem, preset_names(), n=1)
    raise ConfigError(
        f"{where}there is no config file or preset {name!r}."
        if where
        else f"There is no config file or preset {name!r}.",
        (f"Did you mean {close[0]!r}? " if close else "") + f"Presets are {', '.join(preset_names())}.",
    )


def _read(path: Path, chain: tuple[Path, ...]) -> Leaves:
    path = path.resolve()
    if path in chain:
        raise ConfigError(
            f"{path.name} extends itself, by way of {' -> '.join(p.name for p in chain)}.",
            "Break the circle.",
        )
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        own = dict(_leaves_of(root, path)) if root is not None else {}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}).", "Save it as UTF-8.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {_yaml_fault(error)}.", "Mend that line.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    leaves: Leaves = {}
    parents, origin = own.pop(("extends",), ([], ""))
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list):
        raise ConfigError(f"{origin}: extends takes a preset, a file or a list of them.", "For example: extends: tiny.")
    for parent in parents:
        _merge(leaves, _read(_locate(str(parent), path.parent, f"{origin}: "), (*chain, path)))
    _merge(leaves, own)
    return leaves


def _yaml_fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}{getattr(error, 'problem', None) or error}"


def _leaves_of(node: yaml.Node, path: Path, key: Key = ()) -> Iterator[tuple[Key, tuple[Any, str]]]:
    origin = f"{path.name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode) and (node.value or not key):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            name, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(name, str):
                raise ConfigError(f"{path.name}:{line} has a key that is not a plain word.", "Mend that line.")
            if name in seen:
                raise ConfigError(f"{path.name}:{line} has the key {'.'.join((*key, name))} twice.", "Keep one.")
            seen.add(name)
            yield from _leaves_of(value_node, path, (*key, name))
    elif not key:
        raise ConfigError(
            f"{path} does not hold a mapping of settings.", "Start from a preset: `glm config show tiny`."
        )
    else:
        loader = yaml.SafeLoader("")
        try:
            yield key, (loader.construct_object(node, deep=True), origin)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{origin}: {_yaml_fault(error)}.", "Use plain YAML values.") from None


def _parse_override(text: str) -> tuple[Key, Any]:
    name, separator, value = text.partition("=")
    key = tuple(part.strip() for part in name.split("."))
    if not separator or not all(key):
        raise ConfigError(f"--set {text!r} is not of the form a.b=c.", "For example: --set train.max_steps=60.")
    try:
        return key, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {text!r}: the value is not valid YAML: {_yaml_fault(error)}.", "Quote it.") from None


def _put(leaves: Leaves, key: Key, value: Any, origin: str) -> None:
    for other in [k for k in leaves if k[: len(key)] == key or key[: len(k)] == k]:
        del leaves[other]
    leaves[key] = (value, origin)


def _put_tree(leaves: Leaves, key: Key, value: Any, origin: str) -> None:
    """Replace everything at and below ``key``, a mapping leaf by leaf."""
    _put(leaves, key, value, origin)
    if isinstance(value, dict) and value:
        del leaves[key]
        for name, below in value.items():
            _put_tree(leaves, (*key, str(name)), below, origin)


def _merge(leaves: Leaves, other: Leaves) -> None:
    for key, (value, origin) in other.items():
        _put(leaves, key, value, origin)


def _validate(kind: type[Root], leaves: Leaves) -> Merged[Root]:
    tree: dict[str, Any] = {}
    for key, (value, _) in leaves.items():
        branch = tree
        for name in key[:-1]:
            branch = branch.setdefault(name, {})
        branch[key[-1]] = value
    origins = {key: origin for key, (_, origin) in leaves.items()}
    try:
        root = kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(*explain(error, origins, kind)) from None
    return Merged(root, _spread(origins, root))


def _spread(origins: dict[Key, str], root: Section) -> dict[Key, str]:
    """Give every leaf of the validated tree the origin of the closest key that was written."""
    spread: dict[Key, str] = {}
    for path, _, is_leaf in _walk(root.model_dump(mode="json")):
        if is_leaf:
            found = next((origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), None)
            if found is not None:
                spread[path] = found
    return spread


def _walk(tree: dict[str, Any], prefix: Key = ()) -> Iterable[tuple[Key, Any, bool]]:
    for name, value in tree.items():
        path = (*prefix, name)
        if isinstance(value, dict) and value:
            yield path, None, False
            yield from _walk(value, path)
        else:
            yield path, value, True


def _scalar(value: Any) -> str:
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text = yaml.safe_dump(value, default_flow_style=True, default_style=style, allow_unicode=True, width=10**9).strip()
    return text.removesuffix("...").strip()
