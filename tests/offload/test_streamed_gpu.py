"""Layers that take turns on a GPU; needs one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.model import GLM, FolderTensors, InMemory, Scheme, assign_tensors, build_model, write_tensors
from glm130b.offload import assign, assign_streamed
from glm130b.quantization import Quantized, use_quantized_linears

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="copies to a GPU on streams of its own, and there is none; run on an H100"
)

CONFIG = ModelConfig(num_layers=9, hidden_size=512, num_heads=8, ffn_size=1408, vocab_size=512, max_sequence_length=128)


def opened(path: Path, scheme: Scheme | None, limit: int | None) -> GLM:
    device = torch.device("cuda", 0)
    with torch.device("meta"):
        model = GLM(CONFIG)
        if scheme is not None:
            use_quantized_linears(model, scheme)
    source = FolderTensors(path)
    tensors = ((name, source.read(name)) for name in source.infos)
    if limit is None:
        assign_tensors(model, tensors, "model", devices=[device])
    else:
        assign_streamed(model, tensors, "model", limit=limit, device=device)
    return model.eval().requires_grad_(False)


def logits(model: GLM, seed: int) -> Tensor:
    tokens = torch.randint(0, 512, (2, 100), generator=torch.Generator().manual_seed(seed)).cuda()
    positions, nothing = torch.arange(100).expand(2, 100).cuda(), torch.zeros_like(tokens)
    with torch.inference_mode():
        found: Tensor = model(tokens, positions, nothing, nothing)
    return found


@pytest.mark.parametrize("scheme", [None, Scheme(8), Scheme(4, group_size=128)], ids=str)
@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("num_kept", [0, 1, 4])
def test_layers_that_take_turns_answer_as_if_they_all_fitted(
    scheme: Scheme | None, pinned: bool, num_kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many passes without waiting in between: a copy that came too early or too late would show."""
    source = InMemory({name: tensor.half() for name, tensor in build_model(CONFIG, seed=2).state_dict().items()})
    whole_source = source if scheme is None else Quantized(source, scheme)
    write_tensors(tmp_path, whole_source, CONFIG, tokenizer=None, scheme=scheme)
    if not pinned:
        monkeypatch.setattr(assign, "available_memory", lambda: 0)
    infos = FolderTensors(tmp_path).infos
    layer = sum(
        info.nbytes for name, info in infos.items() if name.startswith("layers.0.") and not name.endswith("bias")
    )
    rest = sum(info.nbytes for name, info in infos.items() if "layers" not in name) + 2 * 9 * 512 * 128 * 2
    before = torch.cuda.memory_allocated()
    limited = opened(tmp_path, scheme, rest + assign._WORKING_BYTES + (num_kept + 2) * layer + layer // 2)
    assert limited.streamed
    assert torch.cuda.memory_allocated() - before < rest + (num_kept + 3) * layer
    found = [logits(limited, seed) for seed in range(8)]
    whole = opened(tmp_path, scheme, None)
    for seed, each in enumerate(found):
        assert torch.equal(each, logits(whole, seed))
