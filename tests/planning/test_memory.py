"""Memory of a rank: by formula, against what the placed model holds and what a step allocates."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ranks import run_ranks
from support import small_config
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glm130b.config import RunConfig, load_config
from glm130b.corpus import PreparedCorpus
from glm130b.planning import memory_remedy, num_micro_batches, peak_memory, rank_memory, rank_parameters
from glm130b.tokenization import Tokenizer
from glm130b.training import Trainer


def tensors() -> list[Tensor]:
    """All there are in this process."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Tensor)]


class Peak(TorchDispatchMode):
    """The most bytes that the storages of all tensors ever had together, those of ``others`` left out."""

    def __init__(self, others: Sequence[Tensor]) -> None:
        super().__init__()
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self.most = 0
        for tensor in others:
            self._note(tensor)
        self._others = set(self._storages)
        for tensor in tensors():
            self._note(tensor)

    def _note(self, tensor: Tensor) -> bool:
        tensor = tensor._local_tensor if isinstance(tensor, DTensor) else tensor
        if tensor.is_meta:
            return False
        storage = tensor.untyped_storage()
        key, known = id(storage), self._storages.get(id(storage))
        if known is not None and known() is storage:
            return False
        self._storages[key] = weakref.ref(storage, lambda _: self._storages.pop(key, None))
        return True

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        fresh = [self._note(leaf) for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        if any(fresh):  # FSDP2 empties and fills storages, so that their sizes are asked for each time
            living = [found() for key, found in list(self._storages.items()) if key not in self._others]
            self.most = max(self.most, sum(storage.nbytes() for storage in living if storage is not None))
        return out


def peak_of_a_step(config: RunConfig, tokenizer: Tokenizer, corpus: PreparedCorpus) -> int:
    others = tensors()
    trainer = Trainer(config, tokenizer, corpus, torch.device("cpu"))
    trainer.step()
    with Peak(others) as peak:
        trainer.step()
    return peak.most


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["train.precision=bf16", "train.recompute=selective"],
        ["parallel={data: 2, zero_stage: 3}", "train.precision=bf16"],
        ["parallel={pipeline: 2, tensor: 2, sequence: true}", "train.precision=bf16"],
        ["parallel={pipeline: 2, schedule: interleaved}"],
        ["parallel={pipeline: 2, schedule: zero_bubble}", "train.recompute=full"],
    ],
    ids=" ".join,
)
def test_a_step_takes_the_memory_that_was_planned(
    overrides: list[str], tokenizer: Tokenizer, corpus: PreparedCorpus
) -> None:
    config = small_config(
        "model.num_layers=4",
        "model.hidden_size=192",
        "model.num_heads=6",
        "model.ffn_size=512",
        "data.seq_length=192",
        "train.batch={end: 16}",
        "train.micro_batch_size=2",
        *overrides,
    ).run
    parallel = config.parallel
    found = run_ranks(parallel.pipeline * parallel.data * parallel.tensor, peak_of_a_step, config, tokenizer, corpus)
    planned = peak_memory(config, gpu=False)
    for rank, most in enumerate(found):
        total = planned[rank // (parallel.data * parallel.tensor)].total
        assert total == pytest.approx(most, rel=0.1), f"rank {rank}: {total / most:.3f}"


def test_the_papers_shares() -> None:
    """7.6 GiB of FP16 weights, 1.9 of FP32 masters and averages on each GPU."""
    config = load_config("130b", ["parallel.sequence=false"]).run
    assert rank_parameters(config, 1) == 4_077_757_440
    memory = rank_memory(config, 1, 176, gpu=True)
    assert memory.weights / 2**30 == pytest.approx(7.6, abs=0.05)
    assert (memory.masters + memory.optimizer) / 2**30 == pytest.approx(1.9, abs=0.05)
    # One buffer for activations and one for gradients, for each of 176 micro-batches.
    assert memory.buffers == 2 * 176 * 2048 * 12288 * 2


BASE = small_config("model.num_layers=12").run


def planned_total(parallel: dict[str, Any], train: dict[str, Any]) -> int:
    """Bytes of the fullest rank."""
    config = BASE.model_copy(
        update={"parallel": BASE.parallel.model_copy(update=parallel), "train": BASE.train.model_copy(update=train)}
    )
    return max(memory.total for memory in peak_memory(config, gpu=False))


@given(
    st.fixed_dictionaries(
        {
            "tensor": st.sampled_from([1, 2]),
            "pipeline": st.integers(1, 4),
            "data": st.integers(1, 4),
            "schedule": st.sampled_from(["1f1b", "interleaved", "zero_bubble"]),
        }
    ),
    st.sampled_from(["fp32", "bf16"]),
)
def test_less_is_kept_where_more_is_done_again_or_divided(parallel: dict[str, Any], precision: str) -> None:
    train: dict[str, Any] = {"precision": precision}
    zero = [planned_total(parallel | {"zero_stage": stage}, train) for stage in range(4)]
    assert zero == sorted(zero, reverse=True)
    assert planned_total(parallel | {"sequence": True}, train) <= planned_total(parallel, train)
    if parallel["schedule"] != "zero_bubble":  # there, what is recomputed waits for the gradients of the weights
        again = [planned_total(parallel, train | {"recompute": kind}) for kind in ("none", "selective", "full")]
        assert again == sorted(again, reverse=True)


def test_a_remedy_is_the_mildest_that_does() -> None:
    config = load_config("130b", ["parallel.sequence=false", "train.recompute=none"]).run

    def needed(run: RunConfig) -> int:
        count = num_micro_batches(run, run.train.batch.end)
        return max(rank_memory(run, rank, count, gpu=True).total for rank in range(run.parallel.pipeline))

    def remedy(limit: float) -> str | None:
        found = memory_remedy(config, int(limit), needed)
        return None if found is None else found[0]

    assert remedy(60e9) == "train.recompute=full"
    assert remedy(45e9) == "parallel.sequence=true train.recompute=selective train.recompute=full"
    assert remedy(10e9) is None
