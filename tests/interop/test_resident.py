"""Memory that loading a quantised folder takes, as the kernel counts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.interop import convert
from glm130b.model import TensorInfo, write_tensors
from glm130b.planning import parameter_shapes

pytestmark = pytest.mark.slow

SMALL = ModelConfig(num_layers=1, hidden_size=64, num_heads=2, ffn_size=128, vocab_size=64, max_sequence_length=64)
CONFIG = ModelConfig(
    num_layers=6, hidden_size=1024, num_heads=8, ffn_size=2816, vocab_size=32768, max_sequence_length=64
)

SCRIPT = """
import json, sys
from pathlib import Path
from glm130b.interop import load_model

def memory(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) * 1024

load_model(sys.argv[1])
peak, anonymous = memory("VmHWM"), memory("RssAnon")
model = load_model(sys.argv[2], verify=sys.argv[3] == "verify")
print(json.dumps([memory("VmHWM") - peak, memory("RssAnon") - anonymous, str(model.word_embeddings.weight.dtype)]))
"""


class Drawn:
    """Random weights in FP16, each drawn when it is read."""

    def __init__(self, config: ModelConfig) -> None:
        self.infos = {name: TensorInfo(shape, torch.float16) for name, shape in parameter_shapes(config).items()}

    def read(self, name: str) -> Tensor:
        return (torch.randn(self.infos[name].shape, generator=torch.Generator().manual_seed(0)) * 0.02).half()


def quantised(path: Path, config: ModelConfig) -> Path:
    path.mkdir()
    write_tensors(path, Drawn(config), config, tokenizer=None)
    convert(path, path.with_suffix(".int4"), to="folder", bits=4)
    return path.with_suffix(".int4")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    path = tmp_path_factory.mktemp("resident")
    return quantised(path / "small", SMALL), quantised(path / "large", CONFIG)


@pytest.mark.parametrize("verify", ["verify", "trust"])
def test_loading_takes_no_more_than_the_file(verify: str, folders: tuple[Path, Path]) -> None:
    """Every page of it, if it is verified; hardly a byte that is not the file's own, which memory can do without."""
    small, large = folders
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(small), str(large), verify], check=True, stdout=subprocess.PIPE, text=True
    )
    peak, anonymous, dtype = json.loads(done.stdout)
    size = sum(file.stat().st_size for file in large.glob("*.safetensors"))
    assert size > 100_000_000
    assert dtype == "torch.float16"
    assert peak <= 1.1 * size
    assert anonymous <= 0.05 * size
