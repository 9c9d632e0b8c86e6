"""The stream of sequences: the paper's figures, and a pure function of the number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glm130b.config import DataConfig, InstructionsConfig, ObjectiveConfig, PhaseConfig, SourceConfig
from glm130b.corpus import Tokens, TokenShard, write_shard
from glm130b.errors import ConfigError, DataError
from glm130b.samples import SampleStream, describe
from glm130b.tokenization import SpecialTokens, Tokenizer

SPECIAL = SpecialTokens(
    mask=60001, gmask=60002, smask=60003, eod=60004, sop=60005, eop=60006, enc=60007, dblock=60008, eos=1
)
PAPER = DataConfig(
    sources={"en": SourceConfig(path="-"), "zh": SourceConfig(path="-")}, seq_length=2048, piece_length=2000
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokens]:
    """Sources whose every token says where it stands."""
    folder = tmp_path_factory.mktemp("shards")
    for name, start in (("en", 0), ("zh", 30_000)):
        write_shard(folder / name, [np.arange(start, start + 30_000)], 65_536)
    return {name: Tokens([TokenShard(folder / name)]) for name in ("en", "zh")}


def stream(shards: dict[str, Tokens], data: DataConfig = PAPER, seed: int = 7, **options: Any) -> SampleStream:
    return SampleStream(data, ObjectiveConfig(**options), shards, SPECIAL, seed=seed)


def test_a_sequence_depends_on_its_number_alone(shards: dict[str, Tokens]) -> None:
    forward = stream(shards)
    first = [forward[index] for index in range(40)]
    again = stream(shards)
    for index in reversed(range(40)):
        for name in ("tokens", "position_ids", "sample", "branch", "targets"):
            assert np.array_equal(getattr(first[index], name), getattr(again[index], name))
    other = stream(shards, seed=8)
    assert any(not np.array_equal(first[index].tokens, other[index].tokens) for index in range(3))


@dataclass(frozen=True)
class Told:
    """Instruction data whose every token says which example it is of."""

    num_examples: int

    @dataclass(frozen=True)
    class Example:
        input: np.ndarray
        target: np.ndarray

    def example(self, index: int) -> Example:
        return self.Example(np.full(20 + index % 700, index), np.full(1 + index % 40, index))


MIXED = PAPER.model_copy(update={"instructions": {"mip": InstructionsConfig(path="-")}})


def mixed(shards: dict[str, Tokens], data: DataConfig = MIXED, examples: int = 701, **options: Any) -> SampleStream:
    blanks = ObjectiveConfig(**{"instruction_share": 0.05, **options})
    return SampleStream(data, blanks, shards, SPECIAL, seed=7, instructions={"mip": Told(examples)})


def test_ranks_and_workers_see_one_order(shards: dict[str, Tokens]) -> None:
    """Any number of readers, each with a stream of its own and every n-th sequence: together the same."""
    whole = [mixed(shards)[index].tokens.tolist() for index in range(24)]
    for count in (1, 2, 3, 8):
        parts = [[mixed(shards)[index].tokens.tolist() for index in range(rank, 24, count)] for rank in range(count)]
        assert [parts[index % count][index // count] for index in range(24)] == whole


@pytest.mark.slow
def test_realised_shares_are_those_asked_for(shards: dict[str, Tokens]) -> None:
    """5 % instructions; of the text 30 % [MASK]; sources by weight; all within half a per cent of 10 000 sequences."""
    data = MIXED.model_copy(
        update={"sources": {"en": SourceConfig(path="-", weight=3), "zh": SourceConfig(path="-", weight=1)}}
    )
    for start in (0, 123_456):
        ours = mixed(shards, data)
        origins = [ours.origin(index) for index in range(start, start + 10_000)]
        objectives = Counter(origin.objective for origin in origins)
        sources = Counter(origin.source for origin in origins)
        wanted = {"instruction": 0.05, "mask": 0.95 * 0.3, "gmask": 0.95 * 0.7}
        for name, share in wanted.items():
            assert objectives[name] / 10_000 == pytest.approx(share, abs=0.005)
        for name, share in {"mip": 0.05, "en": 0.7125, "zh": 0.2375}.items():
            assert sources[name] / 10_000 == pytest.approx(share, abs=0.005 if start else 0.0001)
        assert {name: round(share, 4) for name, share in ours.shares(start).items()} == {
            "en": 0.7125,
            "zh": 0.2375,
            "mip": 0.05,
        }


def test_phases_change_sources_and_instructions(shards: dict[str, Tokens]) -> None:
    change = PhaseConfig(start=1000, ramp=2000, weights={"zh": 3}, instruction_share=0.2)
    ours = mixed(shards, MIXED.model_copy(update={"phases": (change,)}), instruction_share=0.0)
    sources = [ours.origin(index).source for index in range(13_000)]
    assert Counter(sources[:1000]) == pytest.approx({"en": 500, "zh": 500}, abs=60)
    assert "mip" not in sources[:1000]
    assert Counter(sources[3000:]) == pytest.approx({"en": 2000, "zh": 6000, "mip": 2000}, abs=2)
    assert Counter(sources[1900:2100])["mip"] == pytest.approx(20, abs=12)


def test_an_epoch_takes_each_piece_once(shards: dict[str, Tokens]) -> None:
    ours = mixed(shards, examples=41)
    found: dict[tuple[str, int], list[int]] = {}
    told = 0
    for index in range(600):
        origin = ours.origin(index)
        for number, part in enumerate(origin.parts):
            epoch = (4 * told + number) // 41 if origin.source == "mip" else origin.epoch
            found.setdefault((origin.source, epoch), []).append(part)
        told += origin.source == "mip"
    assert ours.pieces == {"en": 15, "zh": 15, "mip": 41}
    for (source, epoch), parts in found.items():
        count = ours.pieces[source]
        last = (source, epoch + 1) not in found
        assert len(set(parts)) == len(parts)
        assert last or sorted(parts) == list(range(count))
    assert found["en", 0] != found["en", 1]


def test_with_replacement_there_are_no_epochs(shards: dict[str, Tokens]) -> None:
    ours = mixed(shards, MIXED.model_copy(update={"order": "replacement"}))
    origins = [ours.origin(index) for index in range(3000)]
    assert {origin.epoch for origin in origins} == {0}
    assert np.mean([origin.source == "mip" for origin in origins]) == pytest.approx(0.05, abs=0.015)
    pieces = Counter(origin.parts for origin in origins if origin.source == "en")
    assert set(pieces) == {(n,) for n in range(15)}
    assert max(pieces.values()) - min(pieces.values()) > 10


def test_instructions_are_packed_like_mask_windows(shards: dict[str, Tokens]) -> None:
    ours = mixed(shards, instruction_share=1.0)
    for index in range(20):
        sequence, origin = ours[index], ours.origin(index)
        assert origin.objective == "instruction"
        for slot, example in enumerate(origin.parts):
            inside = np.flatnonzero(sequence.sample == slot)
            assert inside[0] == 512 * slot
            kept = min(20 + example % 700, 510 - (1 + example % 40))
            wanted = [example] * kept + [SPECIAL.mask, SPECIAL.sop] + [example] * (1 + example % 40)
            assert sequence.tokens[inside].tolist() == wanted
            assert sequence.position_ids[inside].tolist() == list(range(len(wanted)))


@pytest.mark.slow
def test_no_neighbour_is_visible(shards: dict[str, Tokens]) -> None:
    """By the rule itself, spelt out: whatever the objective, a token sees only tokens of its own slot."""
    ours = mixed(shards, instruction_share=0.3)
    query, key = np.meshgrid(np.arange(2048), np.arange(2048), indexing="ij")
    for objective in ("mask", "gmask", "instruction"):
        chosen = [index for index in range(100) if ours.origin(index).objective == objective][:3]
        slot = 2048 if objective == "gmask" else 512
        for sequence in (ours[index] for index in chosen):
            same = (sequence.sample[query] == sequence.sample[key]) & (sequence.sample[query] >= 0)
            answers = (sequence.branch[query] == sequence.branch[key]) & (key <= query)
            visible = same & ((sequence.branch[key] == 0) | answers)
            assert visible.any()
            assert not (visible & (query // slot != key // slot)).any()
            assert not (visible & (sequence.branch[key] > 0) & (key > query)).any()


def test_a_share_without_instructions_is_refused(shards: dict[str, Tokens]) -> None:
    with pytest.raises(ConfigError, match="names no instruction data"):
        stream(shards, instruction_share=0.05)
    with pytest.raises(DataError, match="holds no example"):
        mixed(shards, examples=0)


def test_ids_beyond_the_vocabulary_are_refused(shards: dict[str, Tokens]) -> None:
    ours = SampleStream(PAPER, ObjectiveConfig(), shards, SPECIAL, seed=0, vocab_size=40_000)
    with pytest.raises(DataError, match=r"Source zh, piece \d+, holds the id \d+, the tokenizer has 40000"):
        [ours[index] for index in range(20)]


def test_mask_windows_have_the_papers_figures(shards: dict[str, Tokens]) -> None:
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


def test_short_windows_and_single_spans(shards: dict[str, Tokens]) -> None:
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


def test_the_authors_overflow_is_cut(shards: dict[str, Tokens]) -> None:
    ours = stream(shards, mask_share=1.0, overflow="cut", short_window_probability=0.0, single_span_probability=0.0)
    answers = [int((ours[index].targets >= 0).sum()) for index in range(40)]
    whole = [int((ours[index].tokens == SPECIAL.mask).sum()) for index in range(40)]
    assert all((ours[index].sample >= 0).all() for index in range(40))
    # 76 tokens and 24 eop a window; about a third of them is lost.
    assert 0.6 < np.mean(answers) / (np.mean(whole) * (3.157 + 1)) < 0.75


def test_gmask_lengths_are_uniform(shards: dict[str, Tokens]) -> None:
    ours = stream(shards, mask_share=0.0)
    lengths = np.array([ours[index].num_targets for index in range(1500)])
    assert lengths.min() >= 400
    assert lengths.max() <= 2000
    bins = np.histogram(lengths, bins=8, range=(400, 2001))[0]
    assert ((bins - 187.5) ** 2 / 187.5).sum() < 24.3  # 99.9 % of the chi-square law, 7 degrees of freedom


def test_gmask_sequences_rebuild_their_piece(shards: dict[str, Tokens]) -> None:
    ours = stream(shards, mask_share=0.0)
    for index in range(20):
        sequence = ours[index]
        context = sequence.tokens[(sequence.sample == 0) & (sequence.branch == 0)]
        targets = sequence.targets[sequence.targets >= 0]
        text = np.concatenate((context[:-1], targets))
        assert np.array_equal(text, ours.text(ours.origin(index)))
        assert context[-1] == SPECIAL.gmask


def test_pieces_without_padding(shards: dict[str, Tokens]) -> None:
    data = PAPER.model_copy(update={"piece_length": None})
    assert (stream(shards, data, mask_share=0.0)[0].sample == 0).all()


def test_a_short_source_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "en", [[1, 2, 3]], 100)
    data = DataConfig(sources={"en": SourceConfig(path="-")}, seq_length=64)
    with pytest.raises(DataError, match="less than one piece of 63 tokens"):
        stream({"en": Tokens([TokenShard(tmp_path / "en")])}, data)


def test_describe_shows_context_and_answers(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load()
    text = "The turnip grew bigger and bigger, 萝卜越长越大。" * 20
    write_shard(tmp_path / "en", [tokenizer.encode(text)], tokenizer.vocab_size)
    data = DataConfig(sources={"en": SourceConfig(path="-")}, seq_length=128)
    shards = {"en": Tokens([TokenShard(tmp_path / "en")])}
    for share in (0.0, 1.0):
        blanks = ObjectiveConfig(mask_share=share, windows_per_sequence=2)
        shown = describe(SampleStream(data, blanks, shards, tokenizer.special, seed=0)[0], tokenizer)
        assert "sample 0" in shown
        assert ("[MASK]" if share else "[gMASK]") in shown
        assert "萝卜" in shown
