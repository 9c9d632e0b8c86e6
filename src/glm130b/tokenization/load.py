"""Opening whichever tokenizer a folder or file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glm130b.errors import DataError
from glm130b.tokenization import exact, icetk
from glm130b.tokenization.tokenizer import CONFIG_FILE, Tokenizer

_BUNDLED_FOLDER = Path(__file__).parent / "bundled"
_MODEL_FILES = {"sentencepiece": exact.MODEL_FILE, "icetk": icetk.MODEL_FILE}


def load_tokenizer(path: str | Path | None = None) -> Tokenizer:
    """Open a tokenizer; see ``Tokenizer.load``."""
    place = _BUNDLED_FOLDER if path is None or str(path) == "bundled" else Path(path)
    config = _read_config(place / CONFIG_FILE) if place.is_dir() else {}
    kind = _kind(place, config)
    model_file = place / _MODEL_FILES[kind] if place.is_dir() else place
    try:
        model = model_file.read_bytes()
    except OSError as error:
        raise DataError(
            f"There is no tokenizer at {model_file} ({error.strerror}).",
            f"Give a folder that holds {' or '.join(_MODEL_FILES.values())}, "
            "or leave it out to use the bundled tokenizer.",
        ) from error
    try:
        tokenizer = _open(kind, model, config, place.stem)
    except DataError as error:
        raise DataError(f"{model_file}: {error.problem}", error.next_step) from error
    expected = config.get("vocab_size", tokenizer.vocab_size)
    if expected != tokenizer.vocab_size:
        raise DataError(
            f"{place / CONFIG_FILE} says vocab_size {expected}, {model_file.name} has {tokenizer.vocab_size}.",
            "The two files belong to different tokenizers; copy both from the same one.",
        )
    return tokenizer


def _open(kind: str, model: bytes, config: dict[str, Any], default_name: str) -> Tokenizer:
    if kind == "sentencepiece":
        return exact.ExactTokenizer(model, name=str(config.get("name", default_name)))
    options = {key: config[key] for key in icetk.OPTIONS if key in config}
    return icetk.IceTokenizer(model, name=str(config.get("name", "icetk")), **options)


def _kind(place: Path, config: dict[str, Any]) -> str:
    kind = config.get("type")
    if kind is None:
        only_ice = (place / icetk.MODEL_FILE).exists() and not (place / exact.MODEL_FILE).exists()
        return "icetk" if place.name == icetk.MODEL_FILE or only_ice else "sentencepiece"
    if not isinstance(kind, str) or kind not in _MODEL_FILES:
        raise DataError(
            f"{place / CONFIG_FILE} says type {kind!r}, which is none of {', '.join(_MODEL_FILES)}.",
            "Copy the tokenizer's folder anew, or correct the type.",
        )
    return kind


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}).", "Copy the file anew.") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} does not hold a JSON object.", "Copy the file anew.")
    return config
