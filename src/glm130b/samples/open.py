"""Everything a run reads, opened."""

from __future__ import annotations

from dataclasses import dataclass

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus, find_shards, fingerprint
from glm130b.instructions import InstructionStore, seen_tasks
from glm130b.samples.stream import SampleStream
from glm130b.tokenization import Tokenizer


@dataclass(frozen=True)
class TrainingData:
    """What a run is trained on.

    Attributes:
        stream: its sequences by number.
        fingerprints: of every source of text and of instruction data.
        seen_in_mip: evaluation tasks whose data, or a part of them, are among the instruction data, and the names
            of those data.
    """

    stream: SampleStream
    fingerprints: dict[str, str]
    seen_in_mip: dict[str, list[str]]


def open_training_data(config: RunConfig, corpus: PreparedCorpus, tokenizer: Tokenizer) -> TrainingData:
    """Open what a run reads.

    Raises:
        DataError: instruction data are missing, damaged, or of another tokenizer; no source is long enough.
    """
    stores = {name: InstructionStore(source.path) for name, source in config.data.active_instructions.items()}
    seen: dict[str, list[str]] = {}
    for name, store in stores.items():
        store.check_tokenizer(tokenizer)
        for task, datasets in seen_tasks(store.folder).items():
            seen.setdefault(task, []).extend(f"{name}/{dataset}" for dataset in datasets)
    stream = SampleStream(
        config.data,
        config.objective,
        corpus.train,
        tokenizer.special,
        seed=config.seed,
        vocab_size=tokenizer.vocab_size,
        instructions=stores,
    )
    told = {name: fingerprint(find_shards(store.folder, "train")) for name, store in stores.items()}
    return TrainingData(stream, corpus.fingerprints | told, seen)
