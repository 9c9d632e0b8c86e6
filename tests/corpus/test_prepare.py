"""Sources tokenised into a run's folder."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from glm130b.config import DataConfig, ObjectiveConfig, SourceConfig
from glm130b.corpus import Document, PreparedCorpus, Tokens, open_prepared, prepare, read_documents, write_shard
from glm130b.corpus.prepare import is_heldout, is_tokenised
from glm130b.errors import DataError
from glm130b.samples import SampleStream
from glm130b.tokenization import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text.jsonl"
    records = [{"id": f"doc-{n}", "text": f"Document {n}: " + "some words 一些词 " * (n % 5 + 1)} for n in range(200)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def settings(*paths: Path, **values: Any) -> DataConfig:
    sources = {f"s{n}": SourceConfig(path=str(path)) for n, path in enumerate(paths)}
    return DataConfig(**{"sources": sources, "seq_length": 64, "heldout": 0.1, **values})


def ids(tokens: Tokens) -> list[int]:
    return [token for shard in tokens.shards for token in shard.tokens.tolist()]


def texts(tokens: Tokens, tokenizer: Tokenizer) -> list[str]:
    """The documents of a source, cut at each eod."""
    found, current = [], []
    for token in ids(tokens):
        if token == tokenizer.special.eod:
            found.append(tokenizer.decode(current))
            current = []
        else:
            current.append(token)
    assert not current
    return found


def test_every_document_is_in_one_split(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    corpus = prepare(settings(source), tokenizer, tmp_path / "data")
    train, heldout = (texts(split["s0"], tokenizer) for split in (corpus.train, corpus.heldout))
    documents = list(read_documents([source]))
    assert train == [document.text for document in documents if not is_heldout(document.id, 0.1)]
    assert heldout == [document.text for document in documents if is_heldout(document.id, 0.1)]
    assert 5 < len(heldout) < 40


def test_heldout_follows_from_the_id_alone(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    before = prepare(settings(source), tokenizer, tmp_path / "before")
    records = [json.loads(line) for line in source.read_text().splitlines()]
    random.Random(0).shuffle(records)
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_text("".join(json.dumps(record) + "\n" for record in records))
    after = prepare(settings(moved), tokenizer, tmp_path / "after")
    for split in ("train", "heldout"):
        shards = (getattr(corpus, split)["s0"] for corpus in (before, after))
        first, second = (sorted(texts(shard, tokenizer)) for shard in shards)
        assert first == second


def test_heldout_share() -> None:
    ids = [f"document {n}" for n in range(20_000)]
    chosen = {share: {name for name in ids if is_heldout(name, share)} for share in (0.0, 0.02, 0.1, 0.5)}
    for share, names in chosen.items():
        assert len(names) == pytest.approx(share * len(ids), abs=5 * (share * len(ids)) ** 0.5)
    assert chosen[0.02] < chosen[0.1] < chosen[0.5]
    # What is held out must not change between versions.
    assert [n for n in range(100) if is_heldout(str(n), 0.05)] == [3, 9, 16, 67, 68, 92]


def test_the_ledger_equals_a_recount(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    other = tmp_path / "another.txt"
    other.write_text("Something else. " * 50)
    assert not is_heldout(other.name, 0.1)
    corpus = prepare(settings(source, other), tokenizer, tmp_path / "data")
    assert set(corpus.entries) == {"s0", "s1"}
    for name, path in (("s0", source), ("s1", other)):
        documents = list(read_documents([path]))
        entry = json.loads((tmp_path / "data" / name / "source.json").read_text())
        assert entry == corpus.entries[name]
        assert (entry["path"], entry["in_place"]) == (str(path), False)
        for split, tokens in (("train", corpus.train[name]), ("heldout", corpus.heldout[name])):
            chosen = [document for document in documents if is_heldout(document.id, 0.1) == (split == "heldout")]
            counts = entry[split]
            assert counts == {
                "documents": len(chosen),
                "bytes": sum(len(document.text.encode()) for document in chosen),
                "tokens": sum(len(tokenizer.encode(document.text)) + 1 for document in chosen),
            }
            assert (tokens.num_documents, tokens.num_tokens) == (counts["documents"], counts["tokens"])


def test_progress_sees_every_document_once(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    seen: list[tuple[str, Document]] = []
    prepare(settings(source), tokenizer, tmp_path / "data", progress=lambda *event: seen.append(event))
    assert sorted(document.id for _, document in seen) == sorted(document.id for document in read_documents([source]))
    assert {name for name, _ in seen} == {"s0"}


def test_equal_settings_open_what_is_there(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    first = prepare(settings(source), tokenizer, tmp_path / "data")
    source.unlink()
    again = prepare(settings(source, seq_length=128), tokenizer, tmp_path / "data")
    assert again.fingerprints == first.fingerprints
    assert ids(again.train["s0"]) == ids(first.train["s0"])


def test_the_fingerprint_follows_the_tokens(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    def made(name: str) -> PreparedCorpus:
        return prepare(settings(source), tokenizer, tmp_path / name)

    first, same = made("a"), made("b")
    source.write_text(source.read_text().replace("Document 1:", "document 1:"))
    assert first.fingerprints == same.fingerprints != made("c").fingerprints


def test_other_settings_are_refused(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    first = prepare(settings(source), tokenizer, tmp_path / "data")
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(source.read_bytes())
    for other in (settings(source, heldout=0.2), settings(copy)):
        with pytest.raises(DataError, match="made of another source, or with other settings or tokenizer"):
            prepare(other, tokenizer, tmp_path / "data")
    assert open_prepared(tmp_path / "data").fingerprints == first.fingerprints


def test_a_source_can_come_later(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    first = prepare(settings(source), tokenizer, tmp_path / "data")
    other = tmp_path / "another.txt"
    other.write_text("Something else. " * 50)
    both = prepare(settings(source, other), tokenizer, tmp_path / "data")
    assert set(both.train) == {"s0", "s1"}
    assert both.fingerprints["s0"] == first.fingerprints["s0"]


@pytest.fixture
def made_elsewhere(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """What a corpus build leaves: several shards, some held out, and a ledger that names the tokenizer."""
    folder = tmp_path / "corpus"
    made = (("a.en", "train-00000", 0), ("a.en", "train-00002", 1000), ("b.zh", "heldout-00001", 7))
    for source, name, start in made:
        (folder / source).mkdir(parents=True, exist_ok=True)
        write_shard(folder / source / name, [range(start, start + 150)], tokenizer.vocab_size)
    ledger = {"tokenizer": {"fingerprint": tokenizer.fingerprint}, "fingerprint": "x"}
    (folder / "data_ledger.json").write_text(json.dumps(ledger))
    return folder


def test_shards_are_used_where_they_are(tmp_path: Path, made_elsewhere: Path, tokenizer: Tokenizer) -> None:
    one = made_elsewhere / "a.en" / "train-00000.idx"
    corpus = prepare(settings(made_elsewhere, made_elsewhere / "a.en", one), tokenizer, tmp_path / "data")
    for name, count in (("s0", 300), ("s1", 300), ("s2", 150)):
        assert corpus.train[name].num_tokens == count
    assert ids(corpus.train["s0"]) == [*range(150), *range(1000, 1150)]
    assert ids(corpus.heldout["s0"]) == list(range(7, 157))
    assert [file.name for file in (tmp_path / "data").rglob("*") if file.is_file()] == ["source.json"] * 3
    assert corpus.entries["s0"]["train"] == {"documents": 2, "tokens": 300}
    assert open_prepared(tmp_path / "data").fingerprints == corpus.fingerprints


def test_documents_beside_a_corpus_stay_documents(tmp_path: Path, source: Path, made_elsewhere: Path) -> None:
    assert is_tokenised(str(made_elsewhere))
    assert is_tokenised(str(made_elsewhere / "a.en"))
    assert is_tokenised(str(made_elsewhere / "a.en" / "train-00000.idx"))
    assert source.parent == made_elsewhere.parent
    assert not is_tokenised(str(source.parent))
    assert not is_tokenised(str(source))


def test_shards_that_changed_or_do_not_fit_are_refused(
    tmp_path: Path, made_elsewhere: Path, tokenizer: Tokenizer
) -> None:
    config = settings(made_elsewhere)
    prepare(config, tokenizer, tmp_path / "data")
    write_shard(made_elsewhere / "a.en" / "train-00000", [range(1, 151)], tokenizer.vocab_size)
    with pytest.raises(DataError, match="corpus is not what it was"):
        prepare(config, tokenizer, tmp_path / "data")
    another = Tokenizer.load()
    another.fingerprint = "0"
    with pytest.raises(DataError, match="corpus was made with another tokenizer"):
        prepare(config, another, tmp_path / "other")
    (made_elsewhere / "a.en" / "train-00002.bin").write_bytes(b"cut short")
    with pytest.raises(DataError, match=r"train-00002.bin is not as long as its index says"):
        prepare(config, tokenizer, tmp_path / "third")


def test_another_tokenizer_is_refused(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    prepare(settings(source), tokenizer, tmp_path / "data")
    another = Tokenizer.load()
    another.fingerprint = "0"
    with pytest.raises(DataError, match="or with other settings or tokenizer"):
        prepare(settings(source), another, tmp_path / "data")


@pytest.mark.parametrize("bad", ['{"text": "\\ud800"}', "no JSON", '{"text": 5}'])
def test_a_bad_line_leaves_nothing(tmp_path: Path, source: Path, tokenizer: Tokenizer, bad: str) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\n' * 100 + bad + "\n")
    with pytest.raises(DataError, match="line 101"):
        prepare(settings(source, broken), tokenizer, tmp_path / "run" / "data")
    assert [path.name for path in (tmp_path / "run" / "data").iterdir()] == ["s0"]


def test_a_missing_source_is_not_called_a_write_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="There is no file or folder"):
        prepare(settings(tmp_path / "nope.jsonl"), tokenizer, tmp_path / "data")
    with pytest.raises(DataError, match="x" * 5000):
        prepare(settings(Path("x" * 5000)), tokenizer, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_source_of_less_than_one_piece(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    short = tmp_path / "short.txt"
    short.write_text("Only this.")
    config = settings(source, short, heldout=0)
    corpus = prepare(config, tokenizer, tmp_path / "data")
    assert corpus.too_short(config) == {"s1": len(tokenizer.encode("Only this.")) + 1}
    stream = SampleStream(config, ObjectiveConfig(), corpus.train, tokenizer.special, seed=0)
    assert {stream.origin(index).source for index in range(50)} == {"s0"}
    with pytest.raises(DataError, match=r"Source s0 .* has \d+ tokens to train on, less than one piece of 63"):
        prepare(settings(short, short, heldout=0), tokenizer, tmp_path / "both")
    tokens = len(tokenizer.encode("Only this.")) + 1
    prepare(settings(short, heldout=0, piece_length=tokens), tokenizer, tmp_path / "other")
    with pytest.raises(DataError, match="less than one piece"):
        prepare(settings(short, heldout=0, piece_length=tokens + 1), tokenizer, tmp_path / "more")


def test_a_source_may_be_held_out_whole(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "kept").mkdir()
    write_shard(tmp_path / "kept" / "heldout-00000", [range(200)], tokenizer.vocab_size)
    both = {"a": SourceConfig(path=str(source)), "b": SourceConfig(path=str(tmp_path / "kept"), weight=0)}
    corpus = prepare(DataConfig(sources=both, seq_length=64), tokenizer, tmp_path / "data")
    assert (corpus.train["b"].num_tokens, corpus.heldout["b"].num_tokens) == (0, 200)
    stream = SampleStream(
        DataConfig(sources=both, seq_length=64), ObjectiveConfig(), corpus.train, tokenizer.special, seed=0
    )
    assert {stream.origin(index).source for index in range(100)} == {"a"}
    weighed = {**both, "b": SourceConfig(path=str(tmp_path / "kept"))}
    assert corpus.too_short(DataConfig(sources=weighed, seq_length=64)) == {"b": 0}


def test_a_damaged_folder(tmp_path: Path, source: Path, tokenizer: Tokenizer) -> None:
    prepare(settings(source), tokenizer, tmp_path / "data")
    ledger = tmp_path / "data" / "s0" / "source.json"
    whole = ledger.read_text()
    for content in ("{", "[]", "{}", '{"settings": 1}'):
        ledger.write_text(content)
        with pytest.raises(DataError, match=r"source\.json"):
            prepare(settings(source), tokenizer, tmp_path / "data")
    ledger.write_text(whole)
    (tmp_path / "data" / "s0" / "heldout.idx").unlink()
    with pytest.raises(DataError, match=r"s0/heldout\.idx"):
        open_prepared(tmp_path / "data")
    ledger.unlink()
    with pytest.raises(DataError, match=r"source\.json is missing"):
        open_prepared(tmp_path / "data", ["s0"])
    with pytest.raises(DataError, match="holds no prepared source"):
        open_prepared(tmp_path / "data")
