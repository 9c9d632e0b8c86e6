"""A recipe built into a folder, and the folder read back."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.config import MipConfig
from glm130b.errors import ConfigError, DataError
from glm130b.instructions import InstructionStore, build, seen_tasks
from glm130b.tokenization import Tokenizer

Recipe = Callable[..., MipConfig]

TOKENIZER = Tokenizer.load()


def texts(store: InstructionStore) -> list[tuple[str, int, str, str]]:
    examples = map(store.example, range(store.num_examples))
    return [(e.dataset, e.prompt, TOKENIZER.decode(e.input), TOKENIZER.decode(e.target)) for e in examples]


def expected(number: int) -> list[tuple[str, int, str, str]]:
    """What the two prompts make of question ``number`` of the recipe, by hand."""
    question, colour = f"What colour is thing {number}?", ("red", "blue")[number % 2]
    made = [("colours", 0, f"{question}\nChoose from red or blue.", colour)]
    if number % 3:
        made.append(("colours", 1, f"Why? {question}", f"Thing {number} was painted."))
    return made


def test_all_examples(recipe: Recipe, tmp_path: Path) -> None:
    manifest = build(recipe(), tmp_path / "out")
    store = InstructionStore(tmp_path / "out")
    assert sorted(texts(store)) == sorted(made for number in range(20) for made in expected(number))
    assert store.num_examples == 33
    assert store.examples_of("colours") == range(33)
    assert store.prompts_of("colours").tolist() == [0] * 20 + [1] * 13
    assert store.manifest == manifest == json.loads((tmp_path / "out" / "mip.json").read_text())
    example = store.example(0)
    assert example.input.dtype == example.target.dtype == np.int64
    first, second = manifest["datasets"]["colours"]["prompts"]
    keys = ("planned", "applicable", "not_applicable", "failed", "too_long", "written")
    assert [first[key] for key in keys] == [20, 20, 0, 0, 0, 20]
    assert [second[key] for key in keys] == [20, 13, 7, 0, 0, 13]
    lengths = [len(store.example(number).input) for number in range(20)]
    assert first["input_tokens"] == sum(lengths)
    assert not list(tmp_path.glob(".partial-*"))
    store.verify()
    store.check_tokenizer(TOKENIZER)


def test_files_are_shards(recipe: Recipe, tmp_path: Path) -> None:
    """As another reader of the Megatron layout would see them."""
    build(recipe(), tmp_path / "out")
    tokens = np.fromfile(tmp_path / "out" / "colours.bin", np.uint16).tolist()
    pairs = [InstructionStore(tmp_path / "out").example(number) for number in range(33)]
    assert tokens == [token for pair in pairs for token in (*pair.input.tolist(), *pair.target.tolist())]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "colours.bin",
        "colours.idx",
        "colours.prompts.npy",
        "mip.json",
    ]


@pytest.mark.parametrize(("scope", "counts"), [("dataset", [4, 3]), ("prompt", [7, 7])])
def test_caps(recipe: Recipe, tmp_path: Path, scope: str, counts: list[int]) -> None:
    manifest = build(recipe(cap=7, cap_scope=scope), tmp_path / "out")
    prompts = manifest["datasets"]["colours"]["prompts"]
    assert [prompt["planned"] for prompt in prompts] == counts
    assert all(p["planned"] == p["applicable"] + p["not_applicable"] + p["failed"] for p in prompts)
    everything = {made for number in range(20) for made in expected(number)}
    assert set(texts(InstructionStore(tmp_path / "out"))) < everything


def test_another_seed_takes_other_records(recipe: Recipe, tmp_path: Path) -> None:
    taken = []
    for seed in (1, 1, 2):
        build(recipe(cap=10, seed=seed), tmp_path / str(len(taken)))
        taken.append(InstructionStore(tmp_path / str(len(taken))))
    assert taken[0].fingerprint == taken[1].fingerprint != taken[2].fingerprint
    assert texts(taken[0]) == texts(taken[1]) != texts(taken[2])


def test_records_are_spooled_beside_the_result(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what a killed build leaves is removed by the next one."""
    module = import_module("glm130b.instructions.build")
    seen: list[str] = []

    def compile_all(sources: list[Any]) -> None:
        seen.extend(str(source.prefix.relative_to(tmp_path)) for source in sources)

    monkeypatch.setattr(module, "compile_all", compile_all)
    (tmp_path / ".partial-out" / "glm-mip-killed").mkdir(parents=True)
    manifest = build(recipe(), tmp_path / "out")
    assert len(seen) == 1
    assert seen[0].startswith(".partial-out/glm-mip-")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*manifest["files"], "mip.json"])
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.slow
def test_workers_change_nothing(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("glm130b.instructions.build"), "BLOCK", 3)
    seen: list[tuple[str, int, int]] = []
    config = recipe(few_shot={"share": "50%"})
    one = build(config, tmp_path / "one")
    two = build(config, tmp_path / "two", workers=2, progress=lambda *told: seen.append(told))
    assert one == two
    assert seen[0] == ("colours", 3, 40)
    assert seen[-1] == ("colours", 40, 40)


def test_few_shot(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe(few_shot={"share": 1, "max_examples": 2, "separator": " ## "})
    manifest = build(config, tmp_path / "out")
    plain = {(prompt, given): target for n in range(20) for _, prompt, given, target in expected(n)}
    numbers: Counter[int] = Counter()
    for _, prompt, text, target in texts(InstructionStore(tmp_path / "out")):
        *shown, own = text.split(" ## ")
        assert plain[prompt, own] == target
        assert 1 <= len(shown) <= 2
        assert own not in [one.rsplit(" ", 1)[0] for one in shown]
        assert set(shown) <= {
            f"{question} {answer}" for (number, question), answer in plain.items() if number == prompt
        }
        assert len(set(shown)) == len(shown)
        numbers[len(shown)] += 1
    assert set(numbers) == {1, 2}
    assert sum(prompt["few_shot"] for prompt in manifest["datasets"]["colours"]["prompts"]) == 33


def test_a_demonstration_is_of_another_text(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    """Not another view of the sentence or dialogue, not a duplicate, and none twice."""
    people = [{"start": 0, "end": 3, "type": "person"}, {"start": 8, "end": 11, "type": "person"}]
    sentences = [{"text": f"{name} saw Bob.", "entities": people} for name in ("Ann", "Ann", "Eve", "Kim")]
    turns = [{"speaker": "user", "text": f"turn {n}", "state": {"day": [str(n)]}} for n in range(3)]
    dialogues = [{"turns": [{**turns[0], "text": f"dialogue {n}"}, *turns[1:]]} for n in range(3)]
    (colours / "s.jsonl").write_text("".join(json.dumps(one) + "\n" for one in sentences))
    (colours / "d.jsonl").write_text("".join(json.dumps(one) + "\n" for one in dialogues))
    datasets = {
        "s": {"path": str(colours / "s.jsonl"), "task": "typing"},
        "d": {"path": str(colours / "d.jsonl"), "task": "dialogue_state"},
    }
    few_shot = {"share": 1, "max_examples": 2, "separator": " ## "}
    build(recipe(datasets=datasets, few_shot=few_shot), tmp_path / "out")
    numbers: Counter[int] = Counter()
    for dataset, _, text, _ in texts(InstructionStore(tmp_path / "out")):
        parts = text.split(" ## ")
        sources = [re.findall(r"Ann|Eve|Kim" if dataset == "s" else r"dialogue \d", part)[0] for part in parts]
        assert len(set(sources)) == len(parts), text
        numbers[len(parts)] += 1
    assert {2, 3} <= set(numbers)


def test_few_shot_share_and_purity(recipe: Recipe, tmp_path: Path) -> None:
    """Which examples have demonstrations does not depend on the cap, nor on other examples."""
    some = {"share": 0.5, "separator": " ## "}
    build(recipe(few_shot=some), tmp_path / "all")
    build(recipe(few_shot=some, cap=10), tmp_path / "few")
    everything, few = (set(texts(InstructionStore(tmp_path / name))) for name in ("all", "few"))
    assert few < everything
    assert 0 < sum(" ## " in given for _, _, given, _ in everything) < 33


def test_demonstrations_give_way_to_the_limit(recipe: Recipe, tmp_path: Path) -> None:
    longest = max(len(TOKENIZER.encode(given)) for n in range(20) for _, _, given, _ in expected(n))
    config = recipe(few_shot={"share": 1, "max_examples": 9}, max_input_tokens=longest)
    build(config, tmp_path / "out")
    store = InstructionStore(tmp_path / "out")
    assert store.num_examples == 33
    assert max(len(store.example(number).input) for number in range(33)) <= longest


def test_inputs_that_are_too_long_are_counted(recipe: Recipe, tmp_path: Path) -> None:
    lengths = sorted(
        len(TOKENIZER.encode(given)) for n in range(20) for _, prompt, given, _ in expected(n) if not prompt
    )
    config = recipe(max_input_tokens=lengths[0])
    first, _ = build(config, tmp_path / "out")["datasets"]["colours"]["prompts"]
    assert first["applicable"] == 20
    assert first["too_long"] == sum(length > lengths[0] for length in lengths) > 0
    assert first["written"] == 20 - first["too_long"]


def rewrite(folder: Path, old: str, new: str) -> None:
    path = folder / "templates" / "colours" / "templates.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_failures_are_counted_with_a_sample(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    rewrite(colours, "{{ why }}", '{{ why.split("1")[1] }}')
    _, second = build(recipe(), tmp_path / "out")["datasets"]["colours"]["prompts"]
    assert second["failed"] == sum("1" not in str(number) for number in range(20) if number % 3)
    assert second["planned"] == second["applicable"] + second["not_applicable"] + second["failed"]
    assert "list object has no element 1" in second["failure"]
    assert second["failure"].startswith("record ")


def test_special_tokens_in_data_stay_text(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    (colours / "colours.jsonl").write_text(
        json.dumps({"question": "[MASK] ||| <sop>?", "choices": ["[gMASK]", "b"], "label": 0, "why": "eop"}) + "\n"
    )
    build(recipe(), tmp_path / "out")
    store = InstructionStore(tmp_path / "out")
    special = set(TOKENIZER.special.names())
    for number in range(store.num_examples):
        example = store.example(number)
        assert not special & {*example.input.tolist(), *example.target.tolist()}
    assert texts(store)[0][2:] == ("[MASK] ||| <sop>?\nChoose from [gMASK] or b.", "[gMASK]")


def test_a_lone_surrogate_fails_by_name(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    lines = (colours / "colours.jsonl").read_text()
    broken = {"question": "\ud800", "choices": ["a"], "label": 0, "why": ""}
    (colours / "colours.jsonl").write_text(lines + json.dumps(broken) + "\n")
    first, _ = build(recipe(), tmp_path / "out")["datasets"]["colours"]["prompts"]
    assert (first["failed"], first["written"]) == (1, 20)
    assert first["failure"].startswith("record 20: The text holds a lone surrogate")
    (colours / "colours.jsonl").write_text(json.dumps(broken) + "\n")
    with pytest.raises(DataError, match=r"Dataset colours gives no example: .*lone surrogate.*[^.]\.$") as caught:
        build(recipe(), tmp_path / "other")
    assert not caught.value.problem.endswith("..")


EXAMPLES = st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.lists(EXAMPLES, min_size=1, max_size=3))
def test_round_trip(datasets: list[list[tuple[str, str]]]) -> None:
    """Any texts, over several datasets, come back in the right place."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "t" / "x").mkdir(parents=True)
        template = "templates:\n  k: !Template\n    name: n\n    jinja: '{{ a }} ||| {{ b }}'\n"
        (folder / "t" / "x" / "templates.yaml").write_text(template)
        entries: dict[str, Any] = {}
        wanted: list[tuple[str, list[int], list[int]]] = []
        for number, pairs in enumerate(datasets):
            kept = [(a.strip(), b.strip()) for a, b in pairs if a.strip() and b.strip()] or [("a", "b")]
            (folder / f"{number}.jsonl").write_text("".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in kept))
            entries[f"d{number}"] = {"path": str(folder / f"{number}.jsonl"), "templates": "x"}
            wanted += [(f"d{number}", TOKENIZER.encode(a), TOKENIZER.encode(b)) for a, b in kept]
        build(MipConfig.model_validate({"templates": str(folder / "t"), "datasets": entries}), folder / "out")
        store = InstructionStore(folder / "out")
        found = [store.example(index) for index in range(store.num_examples)]
        assert sorted(wanted) == sorted((e.dataset, e.input.tolist(), e.target.tolist()) for e in found)
        for dataset in store.dataset_names:
            assert {found[index].dataset for index in store.examples_of(dataset)} == {dataset}


@pytest.fixture
def store(recipe: Recipe, tmp_path: Path) -> Path:
    build(recipe(), tmp_path / "out")
    return tmp_path / "out"


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        InstructionStore(folder)
    assert caught.value.next_step
    return caught.value.problem


@pytest.mark.parametrize("name", ["colours.bin", "colours.idx", "colours.prompts.npy", "mip.json"])
def test_missing_and_cut_files(store: Path, name: str) -> None:
    path = store / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert str(path) in refused(store)
    path.unlink()
    assert str(path) in refused(store)


@pytest.mark.parametrize("change", [{"version": 2}, {"version": 1, "seen": None}])
def test_manifests_of_another_kind(store: Path, change: dict[str, Any]) -> None:
    manifest = json.loads((store / "mip.json").read_text()) | change
    (store / "mip.json").write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))
    assert refused(store).startswith(str(store / "mip.json"))


def test_files_of_another_store(store: Path) -> None:
    np.save(store / "colours.prompts.npy", np.zeros(33, np.int16))
    assert refused(store) == f"{store / 'colours.prompts.npy'} does not fit colours.idx and mip.json."


def rewrite_index(store: Path, lengths: list[int]) -> None:
    """An index with other lengths of the same sum, and a manifest that agrees."""
    path = store / "colours.idx"
    data = bytearray(path.read_bytes())
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])) * 2
    data[34 : 34 + 12 * len(lengths)] = np.asarray(lengths, np.int32).tobytes() + starts.astype(np.int64).tobytes()
    path.write_bytes(data)
    manifest = json.loads((store / "mip.json").read_text())
    manifest["files"]["colours.idx"]["sha256"] = hashlib.sha256(data).hexdigest()
    (store / "mip.json").write_text(json.dumps(manifest))


def test_examples_without_a_target_are_refused(store: Path) -> None:
    opened = InstructionStore(store)
    lengths = [len(part) for n in range(33) for part in (opened.example(n).input, opened.example(n).target)]
    rewrite_index(store, lengths)
    InstructionStore(store)
    for before, target, problem in (
        (lengths[6] + lengths[7], 0, "colours.idx: example 3 has no target"),
        (lengths[6] + lengths[7] + 5, -5, "colours.idx"),
        (-1, lengths[6] + lengths[7] + 1, "colours.idx"),
    ):
        rewrite_index(store, [*lengths[:6], before, target, *lengths[8:]])
        assert problem in refused(store)


def test_a_changed_index_is_found_at_opening(store: Path) -> None:
    data = bytearray((store / "colours.idx").read_bytes())
    data[-1] ^= 1
    (store / "colours.idx").write_bytes(data)
    assert refused(store) == f"{store / 'colours.idx'} has changed since it was written."


def test_changed_bytes_are_found(store: Path) -> None:
    data = bytearray((store / "colours.bin").read_bytes())
    data[5] ^= 1
    (store / "colours.bin").write_bytes(data)
    with pytest.raises(DataError, match=r"colours.bin has changed"):
        InstructionStore(store).verify()


def test_another_tokenizer(store: Path) -> None:
    manifest = json.loads((store / "mip.json").read_text())
    manifest["tokenizer"]["fingerprint"] = "other"
    (store / "mip.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="was made with the tokenizer"):
        InstructionStore(store).check_tokenizer(TOKENIZER)


@pytest.mark.parametrize("index", [-1, 33])
def test_numbers_outside(store: Path, index: int) -> None:
    with pytest.raises(DataError, match=f"has no example {index}"):
        InstructionStore(store).example(index)
    with pytest.raises(DataError, match="has no dataset x"):
        InstructionStore(store).examples_of("x")


def test_what_counts_as_seen(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    entry = {"path": str(colours / "colours.jsonl"), "templates": "colours"}
    build(recipe(datasets={"a": {**entry, "evaluates": ["tints"]}, "b": entry}), tmp_path / "out")
    assert seen_tasks(tmp_path / "out") == {"a": ["a"], "b": ["b"], "colours": ["a", "b"], "tints": ["a"]}


@pytest.mark.parametrize(
    ("name", "changes", "task"),
    [
        ("lambada", {}, "lambada"),
        ("mine", {"templates": "super_glue/boolq"}, "superglue"),
        ("mine", {"templates": "winogrande/winogrande_xl"}, "winogrande"),
        ("mine", {"templates": "glue/mnli_matched"}, "glue/mnli"),
        ("mine", {"templates": "craffel/openai_lambada"}, "lambada"),
        ("crows_pairs", {"templates": None, "task": "ner"}, "crows_pairs"),
        ("mine", {"evaluates": ["commonsense_qa"]}, "commonsense_qa"),
    ],
)
def test_evaluated_tasks_are_refused(
    recipe: Recipe, tmp_path: Path, name: str, changes: dict[str, Any], task: str
) -> None:
    entry = {"path": "absent", "templates": "colours", **changes}
    with pytest.raises(ConfigError, match=f"Dataset {name} belongs to {task}, which the paper reports"):
        build(recipe(datasets={name: entry}), tmp_path / "out")
    with pytest.raises(DataError, match=r"There is no file or folder absent|cannot be read"):
        build(recipe(datasets={name: entry}, allow_evaluated=True), tmp_path / "out")


def test_glue_that_the_paper_trained_on_is_allowed(recipe: Recipe, tmp_path: Path) -> None:
    entry = {"path": "absent", "templates": "glue/mrpc"}
    with pytest.raises(DataError):
        build(recipe(datasets={"mrpc": entry}), tmp_path / "out")


def test_chinese_is_off_unless_named(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    line = json.dumps({"text": "张三在北京。", "entities": [{"start": 0, "end": 2, "type": "人"}]})
    (colours / "zh.jsonl").write_text(line + "\n")
    datasets = {
        "colours": {"path": str(colours / "colours.jsonl"), "templates": "colours"},
        "zh": {"path": str(colours / "zh.jsonl"), "task": "ner", "language": "zh"},
    }
    manifest = build(recipe(datasets=datasets), tmp_path / "off")
    assert list(manifest["datasets"]) == ["colours"]
    assert manifest["left_out"] == {"zh": "its language zh is off"}
    manifest = build(recipe(datasets=datasets, languages=["en", "zh"]), tmp_path / "on")
    names = [prompt["name"] for prompt in manifest["datasets"]["zh"]["prompts"]]
    assert names
    assert all(name.startswith("zh_") for name in names)
    assert manifest["datasets"]["zh"]["left_out"]["list_entities"] == "is in en"
    target = texts(InstructionStore(tmp_path / "on"))[-1][3]
    assert target == "( 张三 ; instance of ; 人 )"


def test_prompts_can_be_excluded(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    entry = {"path": str(colours / "colours.jsonl"), "templates": "colours", "exclude": ["choose"]}
    manifest = build(recipe(datasets={"colours": entry}), tmp_path / "out")
    assert manifest["datasets"]["colours"]["left_out"] == {"choose": "excluded"}
    assert [prompt["name"] for prompt in manifest["datasets"]["colours"]["prompts"]] == ["explain"]
    with pytest.raises(DataError, match="excludes the prompt 'absent', which it has not"):
        build(recipe(datasets={"colours": {**entry, "exclude": ["absent"]}}), tmp_path / "other")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("{{ question }}", "{{ question | nosuch }}", "Template 'choose' of colours: it is not valid Jinja"),
        ("{{ question }}", "{{ nothing }}", "Dataset colours gives no example: record"),
        ("- en", "- fr", "Dataset colours has 0 prompts in en"),
    ],
)
def test_templates_that_give_nothing(
    recipe: Recipe, colours: Path, tmp_path: Path, old: str, new: str, problem: str
) -> None:
    rewrite(colours, old, new)
    with pytest.raises(DataError, match=problem):
        build(recipe(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".partial-*"))


def test_datasets_that_give_nothing(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    (colours / "colours.jsonl").write_text("\n")
    with pytest.raises(DataError, match="Dataset colours has no record"):
        build(recipe(), tmp_path / "out")
    (colours / "plain.jsonl").write_text('{"text": "Nothing is marked."}\n')
    entry = {"path": str(colours / "plain.jsonl"), "task": ["ner", "joint"]}
    with pytest.raises(DataError, match="Dataset plain has no annotation for the task ner"):
        build(recipe(datasets={"plain": entry}), tmp_path / "out")
    with pytest.raises(ConfigError, match="names no dataset of an enabled language"):
        build(recipe(datasets={}), tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        build(recipe(), colours)


def test_values_that_cannot_be_kept(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([{"question": b"bytes"}]), colours / "b.parquet")
    with pytest.raises(
        DataError, match=r"Record 0 of colours-fields holds a value that is no text or number \(bytes\)"
    ):
        build(
            recipe(datasets={"colours": {"path": str(colours / "b.parquet"), "templates": "colours"}}), tmp_path / "out"
        )
