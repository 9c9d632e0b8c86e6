"""A run's stream of sequences, with everything it reads opened."""

from __future__ import annotations

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus, find_shards, fingerprint
from glm130b.instructions import InstructionStore
from glm130b.samples.stream import SampleStream
from glm130b.tokenization import Tokenizer


def open_stream(config: RunConfig, corpus: PreparedCorpus, tokenizer: Tokenizer) -> tuple[SampleStream, dict[str, str]]:
    """The sequences of a run, and the fingerprint of every source they are made of.

    Raises:
        DataError: instruction data are missing, damaged, or of another tokenizer; a source is too short.
    """
    stores = {name: InstructionStore(source.path) for name, source in config.data.active_instructions.items()}
    for store in stores.values():
        store.check_tokenizer(tokenizer)
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
    return stream, corpus.fingerprints | told
