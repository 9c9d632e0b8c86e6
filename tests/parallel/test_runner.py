"""What runs the micro-batches of a step: any number of them after any other, and no more talk than there need be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ranks import run_ranks
from runs import HARD
from support import small_config
from torch import nn
from torch.distributed.fsdp._fully_shard import _fsdp_param_group as module

from glm130b.corpus import PreparedCorpus
from glm130b.model import Layer
from glm130b.tokenization import Tokenizer
from glm130b.training import Trainer

pytestmark = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zero_bubble"])
def test_a_step_may_have_fewer_micro_batches_and_the_next_more(
    tokenizer: Tokenizer, corpus: PreparedCorpus, schedule: str
) -> None:
    def job(*overrides: str) -> list[float]:
        trainer = Trainer(small_config(*HARD, *overrides).run, tokenizer, corpus, torch.device("cpu"))
        sizes, real = iter([8, 4, 8, 5]), trainer.schedule
        trainer.schedule = SimpleNamespace(  # type: ignore[assignment]
            batch_size=lambda _samples: next(sizes), learning_rate=real.learning_rate, alpha=real.alpha
        )
        return [float(trainer.step()["loss"]) for _ in range(4)]

    alone = run_ranks(1, job)[0]
    for losses in run_ranks(2, job, f"parallel={{pipeline: 2, schedule: {schedule}}}"):
        assert losses == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize(("stage", "by_step"), [(1, 1), (2, 1), (3, 2 * 4)])
def test_parameters_are_gathered_once_a_step_or_for_every_pass(
    tokenizer: Tokenizer, corpus: PreparedCorpus, stage: int, by_step: int
) -> None:
    """Eight sequences on two ranks are four micro-batches each, every one with two passes."""
    batch = ["train.batch={start: 8, end: 8}", "parallel.data=2", f"parallel.zero_stage={stage}"]
    config = small_config(*HARD, *batch).run

    def job() -> tuple[int, int]:
        trainer = Trainer(config, tokenizer, corpus, torch.device("cpu"))
        group: Any = module
        gather, calls = group.foreach_all_gather, []

        def counted(parameters: list[Any], *given: Any) -> Any:
            calls.append(len(parameters))
            return gather(parameters, *given)

        group.foreach_all_gather = counted
        trainer.step()
        of_a_layer = len(list(next(iter(trainer.placed.stages[0].layers)).parameters()))
        return sum(size == of_a_layer for size in calls), config.model.num_layers

    for calls, num_layers in run_ranks(2, job):
        assert calls == by_step * num_layers


def test_layers_in_shards_share_what_is_compiled_of_them(tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    """FSDP2 makes variables of a layer's numbers; nothing that is reckoned with them may exceed 64 bits."""
    config = small_config(*HARD, "train.precision=bf16", "train.compile='on'").run

    def job() -> tuple[int, int]:
        graphs: list[Any] = []

        def keep(graph: Any, _inputs: Any) -> Any:
            graphs.append(graph)
            return graph.forward

        Layer.compile = lambda layer: nn.Module.compile(layer, backend=keep)  # type: ignore
        Trainer(config, tokenizer, corpus, torch.device("cpu")).step()
        nodes = [node for graph in graphs for node in graph.graph.nodes]
        return len(graphs), max(it for node in nodes for it in node.args if isinstance(it, int))

    num_graphs, largest = run_ranks(1, job)[0]
    assert num_graphs < config.model.num_layers
    assert largest < 2**63


def test_only_fp16_has_a_loss_scale_to_keep(tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    """Or a run that goes on in FP16 would begin at a scale of one."""

    def job(precision: str) -> dict[str, object]:
        trainer = Trainer(small_config(f"train.precision={precision}").run, tokenizer, corpus, torch.device("cpu"))
        return trainer.state

    assert run_ranks(1, job, "bf16") == [{}]
    (state,) = run_ranks(1, job, "fp16")
    assert state == {"loss_scale": {"scale": 65536.0, "clean_steps": 0, "overflows": 0, "in_a_row": 0}}


def test_what_tensor_parallel_ranks_hold_alike_stays_alike(tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    """One rank's kernels round a norm's gradient differently; after the step the replicas are still equal."""
    config = small_config(*HARD, "parallel.tensor=2").run

    def job() -> list[torch.Tensor]:
        trainer = Trainer(config, tokenizer, corpus, torch.device("cpu"))
        collect = trainer.gradients.collect

        def rounded() -> None:
            for part in trainer.placed.held:
                if "layernorm" in part.name and part.source.grad is not None and trainer.mesh.tp == 1:
                    part.source.grad += 1e-4
            collect()

        trainer.gradients.collect = rounded  # type: ignore[method-assign]
        trainer.step()
        return [part.local.detach() for part in trainer.placed.held if "layernorm" in part.name]

    first, second = run_ranks(2, job)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
