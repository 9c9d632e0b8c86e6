"""Fixtures of several rooms' tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from support import TINY, fixture_model, small_config

from glm130b.corpus import PreparedCorpus, prepare
from glm130b.model import GLM, build_model
from glm130b.tokenization import Tokenizer

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")  # read when Triton is imported
settings.register_profile("steady", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("steady")
torch.set_num_threads(1)  # the models are so small that a second thread only waits


@pytest.fixture(autouse=True)
def no_process_group_stays() -> Iterator[None]:
    """Half precision makes a process group of one; the next test may fork ranks that make their own."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()  # its threads end with it


@pytest.fixture(scope="session")
def reference() -> GLM:
    """The reference model in FP32 with FP16-rounded rotary frequencies."""
    return fixture_model()


@pytest.fixture
def tiny() -> GLM:
    """A small random model whose every parameter moves the logits."""
    model = build_model(TINY, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """The bundled tokenizer."""
    return Tokenizer.load()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> PreparedCorpus:
    """The bundled corpus, tokenised once."""
    return prepare(small_config().run.data, tokenizer, tmp_path_factory.mktemp("corpus") / "data")
