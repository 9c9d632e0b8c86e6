"""A run's sources as token shards: documents tokenised into its folder, shards made elsewhere used in place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glm130b.config import DataConfig
from glm130b.corpus.documents import LEDGER, Document, folder_files, read_documents
from glm130b.corpus.shards import TokenShard, write_shard
from glm130b.corpus.tokens import Tokens, find_shards, fingerprint
from glm130b.errors import DataError
from glm130b.files import read_json, whole_folder, write_json, write_whole
from glm130b.tokenization import Tokenizer

Split = Literal["train", "heldout"]
_SPLITS: tuple[Split, ...] = ("train", "heldout")
_ENTRY = "source.json"

Progress = Callable[[str, Document], None]


@dataclass(frozen=True)
class PreparedCorpus:
    """Tokens by split and source.

    Attributes:
        train, heldout: by the name of the source.
        entries: of each source its path, counts of both splits, ``tokenizer`` and ``fingerprint``, which is
            the same if and only if the tokens are.
    """

    train: dict[str, Tokens]
    heldout: dict[str, Tokens]
    entries: dict[str, dict[str, Any]]

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of each source."""
        return {name: str(entry["fingerprint"]) for name, entry in self.entries.items()}

    def too_short(self, config: DataConfig) -> dict[str, int]:
        """Sources with a weight that hold less than one piece and so give no sample, with their tokens."""
        counts = {name: self.train[name].num_tokens for name in config.trained_sources & self.train.keys()}
        return {name: counts[name] for name in sorted(counts) if counts[name] < config.text_length}


def prepare(
    config: DataConfig, tokenizer: Tokenizer, folder: Path, *, progress: Progress | None = None
) -> PreparedCorpus:
    """Tokenise every source into a folder of its own below ``folder``, or open what an earlier call made.

    Documents are joined by ``eod``. Which are held out follows from their ids alone. Sources that are token
    shards already are not copied, only noted.

    Raises:
        DataError: a source cannot be read, has changed, or was made with other settings; or none is long
            enough for one piece.
    """
    for name, source in config.active_sources.items():
        settings = {"path": source.path, "heldout_share": config.heldout, "tokenizer": tokenizer.fingerprint}
        place = folder / name
        if is_tokenised(source.path):
            entry = _entry_in_place(Path(source.path), tokenizer)
            _check(place, {"fingerprint": entry["fingerprint"]}, f"{source.path} is not what it was")
            place.mkdir(parents=True, exist_ok=True)
            write_whole(place / _ENTRY, json.dumps(entry, indent=2, ensure_ascii=False) + "\n")
        elif place.exists():
            _check(place, settings, f"{place} was made of another source, or with other settings or tokenizer")
        else:
            with whole_folder(place) as partial:
                write_json(partial / _ENTRY, _tokenize(name, settings, config, tokenizer, partial, progress))
    corpus = open_prepared(folder, list(config.active_sources))
    trained = config.trained_sources & corpus.train.keys()
    if trained and trained == corpus.too_short(config).keys():
        name = min(trained)
        _check_length(name, corpus.entries[name]["path"], corpus.train[name].num_tokens, config)
    return corpus


def open_prepared(folder: Path, names: list[str] | None = None) -> PreparedCorpus:
    """Open what ``prepare`` wrote.

    Args:
        folder: of a run, its ``data``.
        names: the sources to open; default all.

    Raises:
        DataError: incomplete or damaged.
    """
    names = names or sorted(path.parent.name for path in folder.glob(f"*/{_ENTRY}"))
    if not names:
        raise DataError(f"{folder} holds no prepared source.", "Give the folder of a run.")
    entries = {name: _read_entry(folder / name) for name in names}
    found: dict[Split, dict[str, Tokens]] = {}
    for split in _SPLITS:
        found[split] = {name: _open(folder / name, split, entry) for name, entry in entries.items()}
    return PreparedCorpus(found["train"], found["heldout"], entries)


def is_tokenised(path: str) -> bool:
    """Whether a source's path leads to token shards: one, a built corpus, or a folder of shards without documents."""
    place = Path(path)
    try:
        if place.suffix == ".idx" or (place / LEDGER).is_file():
            return True
        return place.is_dir() and next(place.rglob("*.idx"), None) is not None and not folder_files(place)[0]
    except OSError:
        return False  # the reader of documents says what is wrong


def is_heldout(document_id: str, share: float) -> bool:
    """Whether a document is kept out of training: a hash of its id falls below ``share``."""
    digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64


def _read_entry(place: Path) -> dict[str, Any]:
    entry = read_json(place / _ENTRY, DataError)
    if not (isinstance(entry, dict) and {"path", "in_place", "tokenizer", "fingerprint", *_SPLITS} <= entry.keys()):
        raise DataError(f"{place / _ENTRY} is not a source of this version.", "Make the folder again.")
    return entry


def _open(place: Path, split: Split, entry: dict[str, Any]) -> Tokens:
    return find_shards(Path(entry["path"]), split) if entry["in_place"] else Tokens([TokenShard(place / split)])


def _check(place: Path, expected: dict[str, Any], fault: str) -> None:
    if (place / _ENTRY).exists():
        entry = _read_entry(place)
        if any(entry.get(key) != value for key, value in expected.items()):
            raise DataError(f"{fault}.", "Restore it, or train into a new folder (--out).")


def _entry_in_place(path: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """Facts of shards that were made elsewhere; a ledger beside them says with which tokenizer."""
    places = (path.resolve(), *path.resolve().parents[:2])
    ledger = next((place / LEDGER for place in places if (place / LEDGER).is_file()), None)
    made_with = _tokenizer_of(ledger) if ledger else None
    if made_with not in (None, tokenizer.fingerprint):
        raise DataError(
            f"{path} was made with another tokenizer.", f"Set data.tokenizer to the one that {ledger} names."
        )
    splits = {split: find_shards(path, split) for split in _SPLITS}
    entry: dict[str, Any] = {"path": str(path.resolve()), "in_place": True, "tokenizer": made_with}
    for split, tokens in splits.items():
        entry[split] = {"documents": tokens.num_documents, "tokens": tokens.num_tokens}
    return {**entry, "fingerprint": _fingerprint(splits)}


def _tokenizer_of(ledger: Path) -> str:
    content = read_json(ledger, DataError)
    try:
        return str(content["tokenizer"]["fingerprint"])
    except (KeyError, TypeError):
        raise DataError(f"{ledger} is no ledger of this version.", "Build the corpus again, or move it away.") from None


def _tokenize(
    name: str,
    settings: dict[str, Any],
    config: DataConfig,
    tokenizer: Tokenizer,
    folder: Path,
    progress: Progress | None,
) -> dict[str, Any]:
    def documents(split: Split, counts: dict[str, int]) -> Iterator[list[int]]:
        for document in read_documents([settings["path"]]):
            if is_heldout(document.id, settings["heldout_share"]) != (split == "heldout"):
                continue
            if progress is not None:
                progress(name, document)
            counts["bytes"] += len(document.text.encode())
            yield [*tokenizer.encode(document.text), tokenizer.special.eod]

    entry: dict[str, Any] = {**settings, "in_place": False}
    for split in _SPLITS:
        counts = {"documents": 0, "bytes": 0, "tokens": 0}
        stream = documents(split, counts)
        counts["documents"], counts["tokens"] = write_shard(folder / split, stream, tokenizer.vocab_size)
        entry[split] = counts
    if config.trained_sources & config.active_sources.keys() == {name}:
        _check_length(name, settings["path"], entry["train"]["tokens"], config)
    return {**entry, "fingerprint": _fingerprint({split: _open(folder, split, entry) for split in _SPLITS})}


def _fingerprint(splits: dict[Split, Tokens]) -> str:
    return hashlib.sha256("".join(fingerprint(splits[split]) for split in _SPLITS).encode()).hexdigest()


def _check_length(name: str, path: str, num_tokens: int, config: DataConfig) -> None:
    if num_tokens < config.text_length:
        raise DataError(
            f"Source {name} ({path}) has {num_tokens} tokens to train on, less than one piece of {config.text_length}.",
            "Add text, or lower data.seq_length or data.heldout.",
        )
