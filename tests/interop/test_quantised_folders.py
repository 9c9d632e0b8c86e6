"""Quantised model folders: every scheme written and read, defaults, refusals, and what quantising loses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import FIXTURE_CONFIG, FIXTURES

from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, ModelError
from glm130b.interop import convert, describe, load_model, open_model, quantize_folder
from glm130b.model import GLM, InMemory, Scheme, build_model, write_tensors
from glm130b.quantization import is_quantizable, matrix_error, quantize_rows, unpack_int4

pytestmark = pytest.mark.slow

CONFIG = ModelConfig(num_layers=2, hidden_size=128, num_heads=4, ffn_size=192, vocab_size=96, max_sequence_length=64)
SCHEMES = [
    Scheme(8),
    Scheme(4),
    Scheme(4, scale_shards=2),
    Scheme(8, 64),
    Scheme(4, 64),
    Scheme(4, 32, output_bits=8),
    Scheme(8, output_bits=4),
]


def write(path: Path, config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float32, seed: int = 0) -> Path:
    tensors = {name: tensor.to(dtype) for name, tensor in build_model(config, seed=seed).state_dict().items()}
    path.mkdir()
    write_tensors(path, InMemory(tensors), config, tokenizer=None, max_shard_bytes=200_000)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "model")


def asked(scheme: Scheme) -> dict[str, Any]:
    """The scheme as ``convert`` is asked for it."""
    shards = {"tensor_parallel": scheme.scale_shards} if scheme.scale_shards > 1 else {}
    group_size = None if shards else scheme.group_size or "row"
    return {"bits": scheme.bits, "group_size": group_size, "output_bits": scheme.output_bits, **shards}


def logits(model: GLM) -> torch.Tensor:
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        return model(tokens, tokens, torch.zeros_like(tokens), torch.zeros_like(tokens))


def rounded(weight: torch.Tensor, bits: Any, num_scales: int = 1) -> torch.Tensor:
    """The matrix that a quantised one stands for, in FP32: integers times scales."""
    integers, scale = quantize_rows(weight, bits, num_scales)
    values = (unpack_int4(integers) if bits == 4 else integers).float()
    return (values.view(len(values), num_scales, -1) * scale.float().view(len(values), num_scales, 1)).flatten(1)


def expanded(path: Path, scheme: Scheme) -> GLM:
    """The plain model with the matrices that the quantised ones stand for."""
    model = load_model(path, dtype=torch.float32)
    for name, weight in model.state_dict().items():
        if is_quantizable(name):
            weight.copy_(rounded(weight, scheme.bits, scheme.num_scales(name, weight.shape[1])))
    if scheme.output_bits is not None:
        model.output = torch.nn.Linear(128, 96, bias=False)
        model.output.weight.data = rounded(model.word_embeddings.weight, scheme.output_bits)
    return model


def of_config(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "config.json").read_text())
    return content


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_scheme_comes_back(scheme: Scheme, dtype: torch.dtype, tmp_path: Path) -> None:
    path = write(tmp_path / "model", dtype=dtype)
    convert(path, tmp_path / "small", to="folder", **asked(scheme))
    assert open_model(tmp_path / "small").scheme == scheme
    assert describe(tmp_path / "small").precision.startswith(f"{scheme}, embedding and norms ")
    convert(tmp_path / "small", tmp_path / "copy", to="folder", max_shard_bytes=50_000)
    assert open_model(tmp_path / "copy").scheme == scheme
    model, copy = load_model(tmp_path / "small"), load_model(tmp_path / "copy", verify=False)
    assert torch.equal(logits(model), logits(copy))
    assert model.word_embeddings.weight.dtype == dtype
    assert model.dtype == logits(model).dtype == torch.float32
    plain = expanded(path, scheme)
    assert torch.allclose(logits(model), logits(plain), atol=5e-4)
    assert (logits(plain) - logits(load_model(path))).abs().max() > 1.5e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_embedding_of_a_quantised_model_stays_as_it_lies(dtype: torch.dtype, tmp_path: Path) -> None:
    path = write(tmp_path / "model", dtype=dtype)
    convert(path, tmp_path / "small", to="folder", bits=8)
    model, wide = load_model(tmp_path / "small"), load_model(tmp_path / "small", dtype=torch.float32)
    assert model.word_embeddings.weight.dtype == dtype
    assert {parameter.dtype for name, parameter in model.named_parameters() if "embed" not in name} == {torch.float32}
    assert wide.word_embeddings.weight.dtype == torch.float32
    assert wide.activation_dtype is None
    assert torch.allclose(logits(model), logits(wide), atol=1e-5)
    narrow = load_model(tmp_path / "small", dtype=dtype)
    assert (narrow.activation_dtype, narrow.dtype) == (None, dtype)
    plain = load_model(path)
    assert (plain.word_embeddings.weight.dtype, plain.activation_dtype) == (torch.float32, None)
    on_the_fly = load_model(path, bits=8)
    assert on_the_fly.word_embeddings.weight.dtype == dtype
    assert torch.equal(logits(on_the_fly), logits(model))


@pytest.mark.parametrize(
    ("hidden", "ffn", "conventions", "expected"),
    [
        (128, 256, "own", 128),
        (128, 192, "own", 64),
        (128, 352, "own", 32),
        (128, 344, "own", None),
        (128, 256, "official", None),
    ],
)
def test_groups_go_without_saying(hidden: int, ffn: int, conventions: Any, expected: Any, tmp_path: Path) -> None:
    sizes = {"hidden_size": hidden, "ffn_size": ffn, "conventions": conventions}
    path = write(tmp_path / "model", CONFIG.model_copy(update=sizes))
    quantize_folder(path, tmp_path / "small", 4)
    assert open_model(tmp_path / "small").scheme == Scheme(4, expected)
    assert torch.equal(logits(load_model(path, bits=4)), logits(load_model(tmp_path / "small")))
    quantize_folder(path, tmp_path / "rows", 4, group_size="row")
    assert open_model(tmp_path / "rows").scheme == Scheme(4)
    rows = load_model(path, bits=4, group_size="row")
    assert torch.equal(logits(rows), logits(load_model(tmp_path / "rows")))


def test_official_weights_are_quantised_by_rows(tmp_path: Path) -> None:
    official = FIXTURES / "checkpoints" / "tp2"
    convert(official, tmp_path / "a", to="folder", bits=4, config=FIXTURE_CONFIG)
    assert open_model(tmp_path / "a").scheme == Scheme(4)
    convert(official, tmp_path / "b", to="folder", bits=4, tensor_parallel=2, config=FIXTURE_CONFIG)
    assert open_model(tmp_path / "b").scheme == Scheme(4, scale_shards=2)
    convert(FIXTURES / "checkpoints" / "tp2-int8", tmp_path / "c", to="folder", config=FIXTURE_CONFIG)
    assert open_model(tmp_path / "c").scheme == Scheme(8, scale_shards=2)


def test_a_folder_says_how_it_is_quantised_and_earlier_ones_are_read(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "small", to="folder", bits=4, group_size=32, output_bits=8)
    assert of_config(tmp_path / "small")["quantization"] == {
        "layout_version": 2,
        "bits": 4,
        "group_size": 32,
        "scale_shards": 1,
        "symmetric": True,
        "output_bits": 8,
    }
    convert(folder, tmp_path / "ranks", to="folder", bits=4, tensor_parallel=2)
    content = of_config(tmp_path / "ranks")
    expected = logits(load_model(tmp_path / "ranks"))
    earlier = {"bits": 4, "granularity": "row", "symmetric": True, "scale_shards": 2}
    (tmp_path / "ranks" / "config.json").write_text(json.dumps({**content, "quantization": earlier}))
    assert open_model(tmp_path / "ranks").scheme == Scheme(4, scale_shards=2)
    assert torch.equal(logits(load_model(tmp_path / "ranks")), expected)


def test_folders_of_a_later_layout_are_refused(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "small", to="folder", bits=4)
    content = of_config(tmp_path / "small")
    content["quantization"]["layout_version"] = 3
    (tmp_path / "small" / "config.json").write_text(json.dumps(content))
    for look in (load_model, describe, lambda path: convert(path, tmp_path / "out", to="folder")):
        with pytest.raises(ModelError, match="small is quantised in layout 3, and this version reads") as caught:
            look(tmp_path / "small")
        assert caught.value.next_step == "Update glm130b."


@pytest.mark.parametrize("change", [{"group_size": 32}, {"output_bits": 8}, {"group_size": None, "output_bits": None}])
def test_a_folder_that_says_otherwise_than_its_tensors_is_refused(change: Any, folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "small", to="folder", bits=4, group_size=64, output_bits=4)
    content = of_config(tmp_path / "small")
    content["quantization"].update(change)
    (tmp_path / "small" / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"the model wants|the model does not have"):
        load_model(tmp_path / "small")


def test_what_cannot_be_asked_for(folder: Path, tmp_path: Path) -> None:
    def refused(
        error: type[Exception], message: str, source: Path = folder, to: Any = "folder", **options: Any
    ) -> None:
        with pytest.raises(error, match=message):
            convert(source, tmp_path / "out", to=to, **options)
        assert not (tmp_path / "out").exists()

    refused(ModelError, "192 columns do not divide into groups of 128", bits=4, group_size=128)
    refused(ConfigError, "no groups of 48 columns", bits=4, group_size=48)
    refused(ConfigError, "no groups of 32.0 columns", bits=4, group_size=32.0)
    refused(ConfigError, "output cannot be quantised to 6 bits", bits=4, output_bits=6)
    refused(ConfigError, "are parts of quantising", group_size=32)
    refused(ConfigError, "are parts of quantising", output_bits=8)
    refused(ConfigError, "scales for ranks exclude one another", bits=4, group_size=32, tensor_parallel=2)
    refused(ConfigError, "no place for scales of groups", to="sat", bits=4, group_size=32)
    refused(ConfigError, "no place for scales of groups .* or a quantised output", to="sat", bits=4, output_bits=8)
    convert(folder, tmp_path / "groups", to="folder", bits=4, group_size=32)
    convert(folder, tmp_path / "output", to="folder", bits=4, group_size="row", output_bits=8)
    refused(ModelError, "is INT4 in groups of 32, and an official checkpoint", tmp_path / "groups", "sat")
    refused(ModelError, "is INT4 by rows, output INT8, and an official", tmp_path / "output", "sat")
    refused(ModelError, "is quantised already: INT4 in groups of 32", tmp_path / "groups", bits=4, group_size="row")
    refused(ModelError, "is quantised already", tmp_path / "groups", bits=4, output_bits=8)
    with pytest.raises(ModelError, match="is quantised already: INT4 in groups of 32"):
        load_model(tmp_path / "groups", bits=4, group_size=64)
    load_model(tmp_path / "groups", bits=4, group_size=32)
    load_model(tmp_path / "groups", bits=4)
    convert(folder, tmp_path / "sat", to="sat", bits=4, group_size="row")
    assert open_model(tmp_path / "sat", str(folder)).scheme == Scheme(4)


def direct_errors(path: Path, scheme: Scheme) -> dict[str, Any]:
    tensors = build_model(CONFIG, seed=0).state_dict()
    found = {}
    for name, weight in tensors.items():
        if is_quantizable(name):
            stored = quantize_rows(weight, scheme.bits, scheme.num_scales(name, weight.shape[1]))
            found[name] = matrix_error(weight, *stored, scheme.bits)
    if scheme.output_bits is not None:
        words = tensors["word_embeddings.weight"]
        found["output.weight"] = matrix_error(words, *quantize_rows(words, scheme.output_bits), scheme.output_bits)
    return found


@pytest.mark.parametrize("scheme", [Scheme(4, 64, output_bits=8), Scheme(8)], ids=str)
def test_errors_of_every_matrix(scheme: Scheme, folder: Path, tmp_path: Path) -> None:
    found = quantize_folder(folder, tmp_path / "small", **asked(scheme))
    expected = direct_errors(folder, scheme)
    assert found == expected
    assert list(found) == list(expected)
    assert len(found) == 8 + (scheme.output_bits is not None)


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("after", [0, 8, 20, 30])
def test_errors_are_right_after_an_interruption(after: int, folder: Path, tmp_path: Path) -> None:
    scheme = Scheme(4, 32, output_bits=8)
    options = asked(scheme) | {"max_shard_bytes": 20_000}
    count = 0

    def interrupt(_: int) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise Interrupt

    with pytest.raises(Interrupt):
        quantize_folder(folder, tmp_path / "small", on_bytes=interrupt, **options)
    again: list[int] = []
    found = quantize_folder(folder, tmp_path / "small", on_bytes=again.append, **options)
    finished = len(open_model(tmp_path / "small").ranks[0].infos) - len(again)
    assert (finished > 0) == (after > 0)
    assert found == direct_errors(folder, scheme)
    assert list(found) == list(direct_errors(folder, scheme))
    quantize_folder(folder, tmp_path / "whole", **options)
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "small" / file.name).read_bytes() == file.read_bytes()


def test_another_scheme_begins_anew(folder: Path, tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        if next((tmp_path / ".partial-small").glob("model-00002-*"), None):
            raise Interrupt

    schemes = [Scheme(4, 32), Scheme(4, 64), Scheme(4, 64, output_bits=8)]
    for scheme in schemes:
        with pytest.raises(Interrupt):
            quantize_folder(folder, tmp_path / "small", on_bytes=interrupt, max_shard_bytes=30_000, **asked(scheme))
    last = replace(schemes[-1], output_bits=4)
    quantize_folder(folder, tmp_path / "small", max_shard_bytes=30_000, **asked(last))
    assert open_model(tmp_path / "small").scheme == last
    load_model(tmp_path / "small")
