"""A run's sources, tokenised once into its own folder, with some documents kept out of training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glm130b.config import DataConfig
from glm130b.corpus.documents import Document, read_documents
from glm130b.corpus.shards import TokenShard, write_shard
from glm130b.errors import DataError
from glm130b.files import read_json, whole_folder, write_json
from glm130b.tokenization import Tokenizer

Split = Literal["train", "heldout"]
_SPLITS: tuple[Split, ...] = ("train", "heldout")
_LEDGER = "data_ledger.json"


@dataclass(frozen=True)
class PreparedCorpus:
    """Token shards by split and source, and the ledger of what went into them."""

    train: dict[str, TokenShard]
    heldout: dict[str, TokenShard]
    ledger: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of all shards: equal if and only if the tokens are."""
        return str(self.ledger["fingerprint"])


def prepare(
    config: DataConfig,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    progress: Callable[[str, Document], None] | None = None,
) -> PreparedCorpus:
    """Tokenise every source into ``folder``, or open what an earlier call made of the same settings.

    Documents are joined by ``eod``. Which are held out follows from their ids alone.

    Raises:
        DataError: a source cannot be read or is too short for one piece, or ``folder`` was made of other
            settings.
    """
    settings = _settings(config, tokenizer)
    if folder.exists():
        found = open_prepared(folder)
        if found.ledger["settings"] != settings:
            raise DataError(
                f"{folder} was made of other sources or another tokenizer.",
                "Train into a new folder (--out).",
            )
        return found
    sources: dict[str, Any] = {}
    with whole_folder(folder) as partial:
        for name, source in config.active_sources.items():
            sources[name] = _tokenize(name, source.path, config, tokenizer, partial, progress)
        ledger = {"settings": settings, "sources": sources, "fingerprint": _fingerprint(partial)}
        write_json(partial / _LEDGER, ledger)
    return open_prepared(folder)


def open_prepared(folder: Path) -> PreparedCorpus:
    """Open what ``prepare`` wrote.

    Raises:
        DataError: incomplete or damaged.
    """
    ledger = read_json(folder / _LEDGER, DataError)
    if not (isinstance(ledger, dict) and {"settings", "sources", "fingerprint"} <= ledger.keys()):
        raise DataError(f"{folder / _LEDGER} is not a ledger of this version.", "Make the folder again.")
    shards = {split: {name: TokenShard(folder / f"{name}.{split}") for name in ledger["sources"]} for split in _SPLITS}
    return PreparedCorpus(shards["train"], shards["heldout"], ledger)


def is_heldout(document_id: str, share: float) -> bool:
    """Whether a document is kept out of training: a hash of its id falls below ``share``."""
    digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64


def _settings(config: DataConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    sources = {name: source.path for name, source in config.active_sources.items()}
    return {"sources": sources, "heldout": config.heldout, "tokenizer": tokenizer.fingerprint}


def _tokenize(
    name: str,
    path: str,
    config: DataConfig,
    tokenizer: Tokenizer,
    folder: Path,
    progress: Callable[[str, Document], None] | None,
) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": path}

    def documents(split: Split, counts: dict[str, int]) -> Iterator[list[int]]:
        for document in read_documents([path]):
            if is_heldout(document.id, config.heldout) != (split == "heldout"):
                continue
            if progress is not None:
                progress(name, document)
            counts["bytes"] += len(document.text.encode())
            yield [*tokenizer.encode(document.text), tokenizer.special.eod]

    for split in _SPLITS:
        counts = {"documents": 0, "bytes": 0, "tokens": 0}
        stream = documents(split, counts)
        counts["documents"], counts["tokens"] = write_shard(folder / f"{name}.{split}", stream, tokenizer.vocab_size)
        entry[split] = counts
    if entry["train"]["tokens"] < config.text_length:
        raise DataError(
            f"Source {name} ({path}) has {entry['train']['tokens']} tokens to train on, less than one piece of "
            f"{config.text_length}.",
            "Add text, or lower data.seq_length or data.heldout.",
        )
    return entry


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.bin")):
        digest.update(json.dumps([file.name, file.stat().st_size]).encode())
        with file.open("rb") as data:
            while block := data.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
