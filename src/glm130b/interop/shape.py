"""The configuration of a model of which only the tensors are known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glm130b.config import ModelConfig, load_config, preset_names
from glm130b.errors import ConfigError, ModelError
from glm130b.model import TensorInfo, checkpoints

_OFFICIAL = "130b"
_OTHER_NAMES = {
    "num_attention_heads": "num_heads",
    "inner_hidden_size": "ffn_size",
    "padded_vocab_size": "vocab_size",
    "max_position_embeddings": "max_sequence_length",
}
_AS_AUTHORS: dict[str, Any] = {
    "rope_frequencies": "fp16",
    "conventions": "official",
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
}
UNKNOWN_HEADS = 0
_HOW = "Give --config with a preset, or a JSON file with at least num_heads."


def sizes_of(infos: Mapping[str, TensorInfo], origin: str) -> dict[str, int]:
    """The sizes that whole, unquantised or quantised tensors tell: all of ``ModelConfig``'s but heads and length.

    Raises:
        ModelError: the tensors that tell them are not there.
    """
    try:
        vocab_size, hidden_size = infos["word_embeddings.weight"].shape
        (two_ffn,) = infos["layers.0.mlp.dense_h_to_4h.bias"].shape
    except (KeyError, ValueError):
        raise ModelError(
            f"{origin} lacks word_embeddings.weight or layers.0.mlp.dense_h_to_4h.bias, or they are misshapen.",
            "Check that it is a GLM checkpoint.",
        ) from None
    layers = {name.split(".")[1] for name in infos if name.startswith("layers.")}
    return {
        "num_layers": len(layers),
        "hidden_size": hidden_size,
        "ffn_size": two_ffn // 2,
        "vocab_size": vocab_size,
    }


def config_for(sizes: Mapping[str, int], given: str | None, origin: str, *, to_inspect: bool = False) -> ModelConfig:
    """The whole configuration of an official checkpoint: with FP16-rounded rotary frequencies and the authors'
    conventions, unless a file says otherwise.

    Args:
        sizes: what the tensors tell.
        given: a preset's name, or a JSON or YAML file; None for the 130B preset, if it has these sizes.
        to_inspect: do without the number of heads where nothing says it; it is ``UNKNOWN_HEADS`` then.

    Raises:
        ConfigError: nothing says how many heads there are, or ``given`` cannot be read or says otherwise.
    """
    if given is None:
        official = load_config(_OFFICIAL).run.model
        if any(getattr(official, key) != value for key, value in sizes.items()):
            if to_inspect:
                return official.model_copy(update={**sizes, **_AS_AUTHORS, "num_heads": UNKNOWN_HEADS})
            raise ConfigError(
                f"{origin} has {', '.join(f'{key} {value}' for key, value in sizes.items())}, which is not GLM-130B, "
                "and its files do not say how many heads.",
                _HOW,
            )
        return official.model_copy(update=_AS_AUTHORS)
    fields = _AS_AUTHORS | _read(given)
    for key, value in sizes.items():
        if fields.setdefault(key, value) != value:
            raise ConfigError(f"{given} says {key} {fields[key]}, {origin} has {value}.", "Give its own configuration.")
    if "num_heads" not in fields:
        raise ConfigError(f"{given} does not say num_heads.", _HOW)
    fields.setdefault("max_sequence_length", load_config(_OFFICIAL).run.model.max_sequence_length)
    try:
        return ModelConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{given}: {place} {first['msg']}.".replace(":  ", ": "), _HOW) from None


def _read(given: str) -> dict[str, Any]:
    path = Path(given)
    if given in preset_names():
        return load_config(given).run.model.model_dump(exclude=set(_AS_AUTHORS))
    if path.suffix in (".yaml", ".yml"):
        return load_config(given).run.model.model_dump(exclude_unset=True)
    if path.is_dir():
        path = next(reversed(checkpoints(path)), path) / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is neither a preset nor a file {given}.", f"Presets: {', '.join(preset_names())}."
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{given} cannot be read as JSON ({error}).", "Give a preset or a JSON file.") from None
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = {**content, **content["model"]}
    if not isinstance(content, dict):
        raise ConfigError(f"{given} does not hold a JSON object.", _HOW)
    known = {_OTHER_NAMES.get(key, key): value for key, value in content.items()}
    return {key: value for key, value in known.items() if key in ModelConfig.model_fields}
