"""Training on instruction data, from a dataset file to the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support import small_config

from glm130b.config import MipConfig
from glm130b.corpus import PreparedCorpus
from glm130b.errors import ConfigError, DataError
from glm130b.instructions import InstructionStore, build
from glm130b.tokenization import Tokenizer
from glm130b.training import Trainer, latest_checkpoint, train
from glm130b.training.metrics import Record, read_metrics

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty sentences with an entity each, asked for by the prompts that come with the package."""
    folder = tmp_path_factory.mktemp("mip")
    records = []
    for number in range(50):
        name = f"Ada {number}"
        entities = [{"start": 0, "end": len(name), "type": "person"}]
        records.append({"text": f"{name} wrote letter number {number} to the town.", "entities": entities})
    (folder / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    dataset = {"path": str(folder / "data.jsonl"), "task": "ner", "evaluates": ["some_task"]}
    build(MipConfig.model_validate({"datasets": {"letters": dataset}}), folder / "store")
    return folder / "store"


def told(store: Path, weight: float = 1) -> str:
    return f"data.instructions={{mip: {{path: '{store}', weight: {weight}}}}}"


def run(out: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, *overrides: str) -> list[Record]:
    newest = latest_checkpoint(out)
    train(small_config(*overrides), out, tokenizer, corpus, device=CPU, resume=newest)
    return read_metrics(out / "metrics.jsonl")


def test_instructions_are_trained_on(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, store: Path) -> None:
    settings = (told(store), "objective.instruction_share=50%", "train.max_steps=4")
    records = run(tmp_path / "run", tokenizer, corpus, *settings)
    assert all(record["loss_instruction"] > 1 for record in records)
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-00000004" / "training_state.json").read_text())
    assert state["seen_in_mip"] == {"letters": ["mip/letters"], "some_task": ["mip/letters"]}
    assert set(state["data_fingerprints"]) == {"english", "chinese", "mip"}
    trainer = Trainer(small_config(*settings).run, tokenizer, corpus, CPU)
    examples = InstructionStore(store)
    index = next(index for index in range(50) if trainer.stream.origin(index).objective == "instruction")
    sequence, parts = trainer.stream[index], trainer.stream.origin(index).parts
    for slot, part in enumerate(parts):
        answers = sequence.targets[(sequence.sample == slot) & (sequence.targets >= 0)]
        assert answers.tolist() == [*examples.example(part).target.tolist(), tokenizer.special.eop]


def test_instructions_join_a_run(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, store: Path) -> None:
    """The diary's case, and its cure: instruction data that come later, on a ramp."""
    run(tmp_path / "run", tokenizer, corpus, "train.max_steps=3")
    phase = "data.phases=[{start: 12, ramp: 8, instruction_share: 0.9, weights: {mip: 1}}]"
    joined = run(tmp_path / "run", tokenizer, corpus, told(store, 0), phase, "train.max_steps=8")
    assert [record["step"] for record in joined] == list(range(1, 9))
    assert "loss_instruction" not in joined[2]
    assert joined[-1]["loss_instruction"] is not None
    with pytest.raises(ConfigError, match="was trained with data"):
        run(tmp_path / "run", tokenizer, corpus, "train.max_steps=9")


def test_damaged_instructions_are_named(
    tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, store: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in store.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    tokens = np.fromfile(copy / "letters.bin", dtype=np.uint16)
    (tokens + 40_000).tofile(copy / "letters.bin")
    with pytest.raises(DataError, match=r"Source mip, example \d+, holds the id \d+, the tokenizer has 16384"):
        run(tmp_path / "run", tokenizer, corpus, told(copy), "objective.instruction_share=100%")
