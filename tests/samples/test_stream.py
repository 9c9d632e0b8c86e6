"""The stream of sequences: the paper's figures, and a pure function of the number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glm130b.config import DataConfig, ObjectiveConfig, SourceConfig
from glm130b.corpus import TokenShard, write_shard
from glm130b.errors import DataError
from glm130b.samples import SampleStream, describe
from glm130b.tokenization import SpecialTokens, Tokenizer

SPECIAL = SpecialTokens(
    mask=60001, gmask=60002, smask=60003, eod=60004, sop=60005, eop=60006, enc=60007, dblock=60008, eos=1
)
PAPER = DataConfig(
    sources={"en": SourceConfig(path="-"), "zh": SourceConfig(path="-")}, seq_length=2048, piece_length=2000
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenShard]:
    """Sources whose every token says where it stands."""
    folder = tmp_path_factory.mktemp("shards")
    for name, start in (("en", 0), ("zh", 30_000)):
        write_shard(folder / name, [np.arange(start, start + 30_000)], 65_536)
    return {name: TokenShard(folder / name) for name in ("en", "zh")}


def stream(shards: dict[str, TokenShard], data: DataConfig = PAPER, seed: int = 7, **options: Any) -> SampleStream:
    return SampleStream(data, ObjectiveConfig(**options), shards, SPECIAL, seed=seed)


def test_a_sequence_depends_on_its_number_alone(shards: dict[str, TokenShard]) -> None:
    forward = stream(shards)
    first = [forward[index] for index in range(40)]
    again = stream(shards)
    for index in reversed(range(40)):
        for name in ("tokens", "position_ids", "sample", "branch", "targets"):
            assert np.array_equal(getattr(first[index], name), getattr(again[index], name))
    other = stream(shards, seed=8)
    assert any(not np.array_equal(first[index].tokens, other[index].tokens) for index in range(3))


def test_shares_of_the_objectives_and_sources(shards: dict[str, TokenShard]) -> None:
    ours = stream(shards)
    origins = [ours.origin(index) for index in range(4000)]
    assert np.mean([origin.objective == "mask" for origin in origins]) == pytest.approx(0.3, abs=0.022)
    assert np.mean([origin.source == "en" for origin in origins]) == 0.5


def test_mask_windows_have_the_papers_figures(shards: dict[str, TokenShard]) -> None:
    """15 % of a window in spans of mean 3.16; four windows of 512; nothing cut."""
    ours = stream(shards, mask_share=1.0, short_window_probability=0.0, single_span_probability=0.0)
    shares, lengths, used = [], [], []
    for index in range(150):
        sequence = ours[index]
        assert set(sequence.sample.tolist()) <= {-1, 0, 1, 2, 3}
        for number in range(4):
            inside = sequence.sample == number
            assert np.flatnonzero(inside).min() == 512 * number
            answer = inside & (sequence.branch == 1)
            spans = int((sequence.tokens[answer] == SPECIAL.sop).sum())
            masked = int(answer.sum()) - spans
            window = int((inside & (sequence.branch == 0)).sum()) - spans + masked
            assert (sequence.targets[answer] == SPECIAL.eop).sum() == spans
            assert masked >= int(0.15 * window)
            shares.append(masked / window)
            lengths.append(masked / spans)
            used.append(int(inside.sum()))
    assert 0.15 <= np.mean(shares) <= 0.157  # the last span may pass the budget
    assert np.mean(lengths) == pytest.approx(3.157, abs=0.1)
    assert np.mean(used) > 508


def test_short_windows_and_single_spans(shards: dict[str, TokenShard]) -> None:
    ours = stream(shards, mask_share=1.0, short_window_probability=1.0)
    sizes = [int((ours[index].sample == n).sum()) for index in range(50) for n in range(4)]
    assert min(sizes) < 100
    assert min(sizes) >= 32
    assert np.mean(sizes) < 400
    ours = stream(shards, mask_share=1.0, single_span_probability=1.0, short_window_probability=0.0)
    for index in range(10):
        assert (ours[index].tokens == SPECIAL.sop).sum() == 4
        sizes = [int((ours[index].sample == n).sum()) for n in range(4)]
        assert max(sizes) == 502  # a window of 500 with one span: nothing has to be left out


def test_the_authors_overflow_is_cut(shards: dict[str, TokenShard]) -> None:
    ours = stream(shards, mask_share=1.0, overflow="cut", short_window_probability=0.0, single_span_probability=0.0)
    answers = [int((ours[index].targets >= 0).sum()) for index in range(40)]
    whole = [int((ours[index].tokens == SPECIAL.mask).sum()) for index in range(40)]
    assert all((ours[index].sample >= 0).all() for index in range(40))
    # 76 tokens and 24 eop a window; about a third of them is lost.
    assert 0.6 < np.mean(answers) / (np.mean(whole) * (3.157 + 1)) < 0.75


def test_gmask_lengths_are_uniform(shards: dict[str, TokenShard]) -> None:
    ours = stream(shards, mask_share=0.0)
    lengths = np.array([ours[index].num_targets for index in range(1500)])
    assert lengths.min() >= 400
    assert lengths.max() <= 2000
    bins = np.histogram(lengths, bins=8, range=(400, 2001))[0]
    assert ((bins - 187.5) ** 2 / 187.5).sum() < 24.3  # 99.9 % of the chi-square law, 7 degrees of freedom


def test_gmask_sequences_rebuild_their_piece(shards: dict[str, TokenShard]) -> None:
    ours = stream(shards, mask_share=0.0)
    for index in range(20):
        sequence = ours[index]
        context = sequence.tokens[(sequence.sample == 0) & (sequence.branch == 0)]
        targets = sequence.targets[sequence.targets >= 0]
        text = np.concatenate((context[:-1], targets))
        assert np.array_equal(text, ours.text(ours.origin(index)))
        assert context[-1] == SPECIAL.gmask


def test_pieces_without_padding(shards: dict[str, TokenShard]) -> None:
    data = PAPER.model_copy(update={"piece_length": None})
    assert (stream(shards, data, mask_share=0.0)[0].sample == 0).all()


def test_a_short_source_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "en", [[1, 2, 3]], 100)
    data = DataConfig(sources={"en": SourceConfig(path="-")}, seq_length=64)
    with pytest.raises(DataError, match="less than one piece of 63 tokens"):
        stream({"en": TokenShard(tmp_path / "en")}, data)


def test_describe_shows_context_and_answers(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load()
    text = "The turnip grew bigger and bigger, 萝卜越长越大。" * 20
    write_shard(tmp_path / "en", [tokenizer.encode(text)], tokenizer.vocab_size)
    data = DataConfig(sources={"en": SourceConfig(path="-")}, seq_length=128)
    shards = {"en": TokenShard(tmp_path / "en")}
    for share in (0.0, 1.0):
        blanks = ObjectiveConfig(mask_share=share, windows_per_sequence=2)
        shown = describe(SampleStream(data, blanks, shards, tokenizer.special, seed=0)[0], tokenizer)
        assert "sample 0" in shown
        assert ("[MASK]" if share else "[gMASK]") in shown
        assert "萝卜" in shown
