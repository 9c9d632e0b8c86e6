"""FP16 over several ranks: one rank's overflow is every rank's."""

from __future__ import annotations

import pytest
import torch
from ranks import run_ranks
from runs import HARD
from support import small_config

from glm130b.corpus import PreparedCorpus
from glm130b.errors import ModelError
from glm130b.tokenization import Tokenizer
from glm130b.training import Trainer

pytestmark = pytest.mark.slow


def test_any_rank_that_overflows_skips_the_step_everywhere(tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    """Every rank overflows in one step, each in another; between them all are well."""
    scale = "train.loss_scale={initial: 65536, window: 1000, hysteresis: 1}"
    mesh = ["parallel.pipeline=2", "parallel.data=2", "parallel.tensor=2", "train.precision=fp16", scale]
    config = small_config(*HARD, *mesh, "train.batch={start: 2, end: 2}").run

    def job() -> list[tuple[bool, float, int, int, int, bool]]:
        trainer = Trainer(config, tokenizer, corpus, torch.device("cpu"))
        collect, found = trainer.gradients.collect, []

        def poisoned() -> None:
            collect()
            gradient = trainer.placed.held[-1].local.grad
            if trainer.progress.step == 2 * trainer.mesh.world.rank and gradient is not None:
                gradient.view(-1)[0] = torch.inf

        trainer.gradients.collect = poisoned  # type: ignore[method-assign]
        for _ in range(16):
            before = [part.local.clone() for part in trainer.placed.held]
            record = trainer.step()
            moved = any(not torch.equal(a, b.local) for a, b in zip(before, trainer.placed.held, strict=True))
            progress = trainer.progress
            found.append(
                (record["applied"], record["loss_scale"], progress.samples, progress.trained, progress.updates, moved)
            )
        return found

    ranks = run_ranks(8, job)
    for step, found in enumerate(ranks[0]):
        overflows, applied = (step + 2) // 2, step % 2 == 1
        scale_then = 65536 / 2 ** ((step + 1) // 2)
        drawn, updates = 2 * (step + 1), (step + 1) // 2
        assert found == (applied, scale_then, drawn, drawn - 2 * overflows, updates, applied)
    assert all(rank == ranks[0] for rank in ranks)


def test_endless_overflow_ends_the_run(tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    config = small_config("train.precision=fp16", "train.loss_scale={initial: 2, hysteresis: 1}").run

    def job() -> tuple[int, float, str]:
        trainer = Trainer(config, tokenizer, corpus, torch.device("cpu"))
        trainer.placed.held[0].local.data.fill_(torch.inf)
        for _ in range(19):
            trainer.step()
        with pytest.raises(ModelError, match="20th in a row") as error:
            trainer.step()
        return trainer.progress.skipped_steps, trainer.loss_scale.scale, error.value.next_step

    skipped, scale, advice = run_ranks(1, job)[0]
    assert (skipped, scale) == (19, 1)
    assert "earlier checkpoint" in advice


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_a_loss_scale_nothing_may_overflow(
    tokenizer: Tokenizer, corpus: PreparedCorpus, precision: str
) -> None:
    config = small_config(f"train.precision={precision}", "parallel.data=2").run

    def job() -> bool:
        trainer = Trainer(config, tokenizer, corpus, torch.device("cpu"))
        if trainer.mesh.world.rank == 1:
            trainer.placed.held[0].local.data.fill_(torch.nan)
        before = [part.local.clone() for part in trainer.placed.held]
        with pytest.raises(ModelError, match="was not applied"):
            trainer.step()
        after = [part.local for part in trainer.placed.held]
        return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, after, strict=True))

    assert run_ranks(2, job) == [True, True]


LOOPS = "{pipeline: 2, schedule: interleaved}"
V = "{pipeline: 2, schedule: zero_bubble, tensor: 2}"


@pytest.mark.parametrize("layout", ["{pipeline: 2, data: 3}", LOOPS, V])
def test_heldout_loss_is_the_same_on_every_rank(tokenizer: Tokenizer, corpus: PreparedCorpus, layout: str) -> None:
    def job(*overrides: str) -> dict[str, float]:
        config = small_config(*HARD, "eval.sequences=5", "train.micro_batch_size=2", *overrides).run
        trainer = Trainer(config, tokenizer, corpus, torch.device("cpu"))
        first = trainer.heldout()
        trainer.step()
        assert trainer.heldout() != first
        return first

    alone = run_ranks(1, job)[0]
    size = {LOOPS: 2, V: 4}.get(layout, 6)
    for losses in run_ranks(size, job, f"parallel={layout}"):
        assert losses == {name: pytest.approx(loss, rel=1e-6) for name, loss in alone.items()}
