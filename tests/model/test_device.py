"""Layers spread over several devices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import TINY

from glm130b.config import ModelConfig, load_config
from glm130b.errors import ResourceError
from glm130b.model import GLM, KVCache, checked_devices
from glm130b.model.device import spread
from glm130b.planning import parameter_shapes

DEVICES = [torch.device("cuda", n) for n in range(8)]


def loads(config: ModelConfig, devices: list[torch.device]) -> tuple[list[int], list[int], int]:
    """Bytes on each device, index of each layer's device, bytes of the largest layer."""
    sizes = {name: torch.Size(shape).numel() for name, shape in parameter_shapes(config).items()}
    place = spread(sizes, devices)
    assert place.keys() == sizes.keys()
    held = [sum(size for name, size in sizes.items() if place[name] == device) for device in devices]
    of_layer = [devices.index(place[f"layers.{n}.attention.dense.bias"]) for n in range(config.num_layers)]
    for name, device in place.items():
        if name.startswith("layers."):
            assert devices.index(device) == of_layer[int(name.split(".")[1])]
        else:
            assert device == devices[0]
    layer = sum(size for name, size in sizes.items() if name.startswith("layers.0."))
    return held, of_layer, layer


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 4000))
def test_layers_stay_whole_in_order_and_even(num_layers: int, count: int, vocab_size: int) -> None:
    config = TINY.model_copy(update={"num_layers": num_layers, "vocab_size": vocab_size})
    held, of_layer, layer = loads(config, DEVICES[:count])
    assert of_layer == sorted(of_layer)
    ends = held[0] - layer * of_layer.count(0)
    assert max(held) <= max(sum(held) / count + layer, ends)


def test_the_130b_on_eight() -> None:
    held, of_layer, _ = loads(load_config("130b").run.model, DEVICES)
    assert max(held) <= 1.03 * sum(held) / 8
    assert of_layer.count(0) < of_layer.count(7)


def test_everything_moves_to_where_the_layer_is(tiny: GLM) -> None:
    """Operations on two devices at once are errors, so the meta device can stand for another."""
    for module in (tiny.layers[1], tiny.layers[2], tiny.final_layernorm):
        module.to("meta")
    assert [device.type for device in tiny.layer_devices] == ["cpu", "meta", "meta"]
    tokens = torch.arange(6)[None]
    sample = branch = torch.zeros_like(tokens)
    cache = KVCache(TINY, batch=1, capacity=8, layer_devices=tiny.layer_devices)
    tiny.attention_backend = "sdpa"
    seen: list[str] = []
    hook = tiny.layers[2].register_forward_hook(lambda _m, _i, out: seen.append(out.device.type))
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        tiny.hidden_states(tokens, tokens, sample, branch, cache=cache)
    hook.remove()
    assert seen == ["meta"]
    assert [keys.device.type for keys in cache.keys] == ["cpu", "meta", "meta"]


def test_device_names() -> None:
    assert checked_devices("cpu") == [torch.device("cpu")]
    with pytest.raises(ResourceError, match="names a device twice"):
        checked_devices("cpu, cpu")
    with pytest.raises(ResourceError, match="no device tpu"):
        checked_devices("cpu,tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError, match="no GPUs"):
            checked_devices("gpus")
