"""Models that do not fit answer as they do where they fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TINY, TINY_SPECIAL
from torch import Tensor, nn

from glm130b.config import ModelConfig
from glm130b.errors import ResourceError
from glm130b.inference import answer, make_context
from glm130b.model import GLM, FolderTensors, InMemory, Scheme, TensorInfo, assign_tensors, build_model, write_tensors
from glm130b.offload import Resident, assign, assign_streamed, automatic_limit
from glm130b.offload.assign import spread_out
from glm130b.offload.buffered import BufferedLayers
from glm130b.offload.pages import MappedFiles
from glm130b.planning import parameter_shapes
from glm130b.quantization import Quantized, use_quantized_linears

CPU = torch.device("cpu")
CONFIG = TINY.model_copy(update={"num_layers": 5, "hidden_size": 64, "ffn_size": 160})
SEVERAL = [[5, 6, 56, 7], [8, 57], [5, 56, 9, 9, 9]]


def spread_weights(config: ModelConfig = CONFIG) -> GLM:
    """Weights large enough for every one of them to move the logits."""
    model = build_model(config, seed=3)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    return model


def folder_of(path: Path, state: Mapping[str, Tensor], config: ModelConfig = CONFIG) -> Path:
    path.mkdir()
    write_tensors(path, InMemory(state), config, tokenizer=None)
    return path


@pytest.fixture(params=[torch.float32, torch.float16])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return folder_of(
        tmp_path / "model", {name: t.to(request.param) for name, t in spread_weights().state_dict().items()}
    )


def opened(path: Path, *, limit: int | None = None, scheme: Scheme | None = None) -> GLM:
    with torch.device("meta"):
        model = GLM(CONFIG)
        if scheme is not None:
            use_quantized_linears(model, scheme)
    source = FolderTensors(path)
    tensors = ((name, source.read(name)) for name in source.infos)
    if limit is None:
        assign_tensors(model, tensors, "model")
    else:
        assign_streamed(model, tensors, "model", limit=limit, device=CPU)
    return model.eval().requires_grad_(False)


def answers(model: GLM) -> list[list[int]]:
    contexts = [make_context(tokens, TINY_SPECIAL) for tokens in SEVERAL]
    return [list(answer(model, context, end=(), max_new_tokens=8)) for context in contexts]


def logits(model: GLM) -> Tensor:
    tokens = torch.arange(12).view(2, 6)
    nothing = torch.zeros_like(tokens)
    with torch.inference_mode():
        found: Tensor = model(tokens, tokens % 6, nothing, nothing)
    return found


def layer_bytes(itemsize: int) -> int:
    H, I = CONFIG.hidden_size, CONFIG.ffn_size
    return (4 * H * H + 3 * H * I) * itemsize


def cache_bytes(itemsize: int) -> int:
    return 2 * CONFIG.num_layers * CONFIG.hidden_size * CONFIG.max_sequence_length * itemsize


def test_weights_used_in_place(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "model", spread_weights().state_dict())
    limited, whole = opened(path, limit=Resident.now().total + 10**8), opened(path)
    assert limited.streamed
    assert not whole.streamed
    assert torch.equal(logits(limited), logits(whole))
    assert answers(limited) == answers(whole)


@pytest.mark.parametrize("num_kept", [0, 1, 2, 3, 4, 5])
def test_weights_that_are_cast_take_turns(num_kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FP16 folders computed in FP32: two slots, and as many layers for good as the limit allows."""
    path = folder_of(tmp_path / "model", {name: t.half() for name, t in spread_weights().state_dict().items()})
    monkeypatch.setattr(Resident, "now", lambda: Resident(1000, 1000))
    used = 1000 + assign._WORKING_BYTES + CONFIG.vocab_size * CONFIG.hidden_size * 2 + cache_bytes(4)
    slots = 0 if num_kept == CONFIG.num_layers else 2
    limited = opened(path, limit=used + (num_kept + slots) * layer_bytes(4))
    storages = {layer.get_parameter("mlp.dense_h_to_4h.weight").data_ptr() for layer in limited.layers}
    assert len(storages) == min(num_kept + slots, CONFIG.num_layers)
    whole = opened(path)
    torch.testing.assert_close(logits(limited), logits(whole))
    assert answers(limited) == answers(whole)
    assert answers(limited) == answers(whole)


@pytest.mark.parametrize("scheme", [Scheme(8), Scheme(4, group_size=32), Scheme(4, output_bits=8)], ids=str)
def test_quantised_weights_are_used_in_place(scheme: Scheme, tmp_path: Path) -> None:
    """Beside an embedding in FP16, which stays so."""
    source = InMemory({name: tensor.half() for name, tensor in spread_weights().state_dict().items()})
    write_tensors(tmp_path, Quantized(source, scheme), CONFIG, tokenizer=None, scheme=scheme)
    limited, whole = (
        opened(tmp_path, limit=Resident.now().total + 10**8, scheme=scheme),
        opened(tmp_path, scheme=scheme),
    )
    files = MappedFiles()
    assert all(files.hold(tensor) for tensor in limited.state_dict().values() if tensor.dtype == torch.int8)
    assert files.hold(limited.word_embeddings.weight)
    assert torch.equal(logits(limited), logits(whole))
    assert answers(limited) == answers(whole)


def test_parts_of_a_pass_and_the_same_layer_again(folder: Path) -> None:
    """What another thread of control would do: stop in the middle, begin again, leave the output layer out."""
    limited, whole = opened(folder, limit=Resident.now().total + 10**8), opened(folder)
    columns = torch.arange(6)[None], torch.arange(6)[None], torch.zeros(1, 6).long(), torch.zeros(1, 6).long()
    with torch.inference_mode():
        inputs = limited.layer_inputs(*columns[1:])
        limited.layers[0](limited.embed(columns[0]), inputs)
        limited.layers[1](limited.embed(columns[0]), inputs)
        torch.testing.assert_close(limited.hidden_states(*columns), whole.hidden_states(*columns))
    torch.testing.assert_close(logits(limited), logits(whole))


def test_a_copy_that_fails_is_told_and_tried_again() -> None:
    layers = {n: {"weight": torch.full((4,), float(n))} for n in range(4)}
    faults = [OSError("the disk is gone")]

    def copied(tensor: Tensor) -> None:
        if tensor[0] == 2 and faults:
            raise faults.pop()

    slots = BufferedLayers(layers, {"weight": torch.float64}, CPU, copied=copied)
    slots.enter(0)
    slots.enter(1)
    with pytest.raises(OSError, match="disk is gone"):
        slots.enter(2)
    for n in [0, 1, 2, 3, 0, 2, 1]:
        slots.enter(n)
        assert slots.tensors(n)["weight"].tolist() == [n] * 4


@pytest.mark.parametrize("streamed", [(0, 1, 2), (1, 3, 4), (0, 4), (2,)])
def test_slots_hold_what_is_used_wherever_kept_layers_lie(streamed: tuple[int, ...]) -> None:
    layers = {n: {"weight": torch.full((4,), float(n))} for n in streamed}
    copies = []
    slots = BufferedLayers(layers, {"weight": torch.float32}, CPU, copied=lambda tensor: copies.append(tensor))
    for n in [*range(6)] * 3:
        slots.enter(n)
        if n in streamed:
            assert slots.tensors(n)["weight"].tolist() == [n] * 4
    if len(streamed) <= 2:
        assert len(copies) == len(streamed)  # they have a slot each


def test_layers_that_are_kept_lie_between_those_that_are_not() -> None:
    assert spread_out(3, 6) == [1, 3, 5]
    assert spread_out(0, 6) == []
    assert spread_out(6, 6) == [0, 1, 2, 3, 4, 5]
    for total in range(1, 12):
        for count in range(total + 1):
            assert len(spread_out(count, total)) == count


def test_a_limit_below_two_layers_is_refused(folder: Path) -> None:
    with pytest.raises(ResourceError, match="too little for model") as caught:
        opened(folder, limit=10**6)
    assert caught.value.next_step.startswith("Give at least ")


def test_weights_that_are_in_memory_are_refused() -> None:
    with torch.device("meta"):
        model = GLM(CONFIG)
    with pytest.raises(ResourceError, match="in memory already"):
        assign_streamed(model, spread_weights().state_dict().items(), "model", limit=10**12, device=CPU)


def test_a_limit_of_its_own_where_weights_are_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assign, "available_memory", lambda: 1000)
    monkeypatch.setattr(Resident, "now", lambda: Resident(300, 300))
    stored = {"one": TensorInfo((10, 40), torch.float16), "two": TensorInfo((2,), torch.float16)}
    assert automatic_limit(stored, torch.float16, CPU) is None
    assert automatic_limit(stored, None, CPU) == 300 + 900  # they become FP32
    quantized = {"one": TensorInfo((10, 90), torch.int8), "two": TensorInfo((50,), torch.float16)}
    assert automatic_limit(quantized, None, CPU) is None
    assert automatic_limit(quantized | {"three": TensorInfo((1,), torch.int8)}, None, CPU) == 300 + 900


CHILD = """
import json, sys
from pathlib import Path
import torch
from glm130b.config import ModelConfig
from glm130b.model import GLM, FolderTensors, assign_tensors
from glm130b.offload import Resident, assign_streamed
from glm130b.inference import Context, answer

torch.set_num_threads(1)
path, extra = Path(sys.argv[1]), json.loads(sys.argv[2])
config = ModelConfig(**json.loads(sys.argv[3]))
with torch.device("meta"):
    model = GLM(config)
source = FolderTensors(path, verify=bool(extra))
tensors = ((name, source.read(name)) for name in source.infos)
limit = Resident.now().total + (extra or 0)
if extra:
    assign_streamed(model, tensors, str(path), limit=limit, device=torch.device("cpu"))
else:
    assign_tensors(model, tensors, str(path))
model.eval().requires_grad_(False)
context = Context([*range(3, 60)], [*range(57)], [0] * 56 + [1], 56, repeats=False)
tokens = list(answer(model, context, end=(), max_new_tokens=4))
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
columns = torch.arange(6).expand(2, 1, 6)
logits = model(*columns, *torch.zeros(2, 1, 6, dtype=torch.long))[0, -1].tolist()
print(json.dumps({"tokens": tokens, "logits": logits, "limit": limit, "peak": peak}))
"""


def in_a_process_of_its_own(path: Path, extra: int | None, config: ModelConfig) -> dict[str, Any]:
    arguments = [sys.executable, "-c", CHILD, str(path), json.dumps(extra), config.model_dump_json()]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class RandomWeights:
    """Normal values: stretches of one random vector, begun at a place that follows from the name."""

    def __init__(self, config: ModelConfig) -> None:
        self.infos = {name: TensorInfo(shape, torch.float32) for name, shape in parameter_shapes(config).items()}
        self._values = torch.randn((1 << 22) + 997, generator=torch.Generator().manual_seed(0)) * 0.04

    def read(self, name: str) -> Tensor:
        shape = self.infos[name].shape
        values = self._values.roll(-(sum(name.encode()) % 997))
        return values[: torch.Size(shape).numel()].view(shape) + float("norm.weight" in name)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux")
def test_a_model_four_times_larger_than_memory_answers_within_it(tmp_path: Path) -> None:
    """Peak resident memory by the kernel's own high-water mark, mapped files included."""
    config = ModelConfig(
        num_layers=92, hidden_size=768, num_heads=8, ffn_size=2112, vocab_size=1024, max_sequence_length=128
    )
    path = tmp_path / "model"
    path.mkdir()
    write_tensors(path, RandomWeights(config), config, tokenizer=None)
    layer = sum(prod(shape) for name, shape in parameter_shapes(config).items() if name.startswith("layers.0.")) * 4
    limited = in_a_process_of_its_own(path, 3 * layer + 70_000_000, config)
    whole = in_a_process_of_its_own(path, None, config)
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    shutil.rmtree(path)
    assert limited["tokens"] == whole["tokens"]
    assert limited["logits"] == whole["logits"]
    assert len(set(limited["logits"])) > 1000
    assert size > 4 * limited["limit"]
    assert limited["peak"] <= 1.02 * limited["limit"]
    assert whole["peak"] > size
