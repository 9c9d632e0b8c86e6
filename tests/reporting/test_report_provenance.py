"""What a report refuses to leave out, and how it asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from made_results import FACTS, MODEL, task_of, write

from glm130b.errors import ConfigError, DataError
from glm130b.reporting import Source, Training, energy_of, gather, read_facts
from glm130b.reporting.provenance import merged, missing, skeleton, unknown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "eval", [task_of("one", (0.5,))])
    return tmp_path / "eval"


def facts_file(tmp_path: Path, text: str = FACTS) -> Path:
    path = tmp_path / "facts.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_that_is_missing_is_named_at_once(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        gather(folder)
    names = [f"training.{name}" for name in Training.model_fields]
    assert caught.value.problem == f"The report would lack {', '.join([*names, 'energy'])}."
    for option in ("--energy", "--watts", "--facts", "--run"):
        assert option in caught.value.next_step


def test_the_skeleton_asks_for_just_that(folder: Path, tmp_path: Path) -> None:
    """It is YAML, and as long as it is empty the same is missing."""
    with pytest.raises(ConfigError) as caught:
        gather(folder, energy="unknown")
    text = caught.value.next_step.partition("\n\n")[2]
    assert set(yaml.safe_load(text)["training"]) == set(Training.model_fields)
    with pytest.raises(ConfigError, match=r"would lack training\.code, .*training\.data\.…\.sha256"):
        gather(folder, energy="unknown", facts=facts_file(tmp_path, text))


@pytest.mark.parametrize("name", list(Training.model_fields))
def test_each_field_is_needed(folder: Path, tmp_path: Path, name: str) -> None:
    tree = yaml.safe_load(FACTS)
    del tree["training"][name]
    facts = facts_file(tmp_path, yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=rf"would lack training\.{name}\. ") as caught:
        gather(folder, energy="3", facts=facts)
    assert set(yaml.safe_load(caught.value.next_step.partition("\n\n")[2])["training"]) == {name}


def test_a_source_is_described_whole(folder: Path, tmp_path: Path) -> None:
    facts = facts_file(tmp_path, FACTS.replace(", sha256: abc", ""))
    with pytest.raises(ConfigError, match=r"would lack training\.data\.chinese\.sha256\."):
        gather(folder, energy="3", facts=facts)


@pytest.mark.parametrize("empty", [{"hyperparameters": {}}, {"data": ()}, {"code": ""}])
def test_empty_is_missing(empty: dict[str, object]) -> None:
    full = merged(Training(), Training.model_validate(yaml.safe_load(FACTS)["training"]))
    assert missing(full) == []
    assert missing(full.model_copy(update=empty)) == [f"training.{name}" for name in empty]


def test_the_unknown_is_said(folder: Path, tmp_path: Path) -> None:
    report = gather(folder, energy="unknown", facts=facts_file(tmp_path))
    assert unknown(report.training) == ["software", "seed", "consumed of english", "sha256 of english"]
    assert report.energy.kwh is None


def test_the_file_in_the_documentation_is_complete(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert missing(read_facts(facts_file(tmp_path, example))) == []


def test_facts_do_not_contradict_the_run() -> None:
    known = Training(seed=5, precision="fp32")
    assert merged(known, Training(precision="fp32", code="x")) == Training(seed=5, precision="fp32", code="x")
    with pytest.raises(ConfigError, match=r"training\.seed .* is not what the run"):
        merged(known, Training(seed=6))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: {sed: 3}", r"training\.sed: Extra inputs"),
        ("training: {hours: -1}", r"training\.hours"),
        ("training: {data: [{name: a, planned: 2}]}", r"training\.data"),
        ("- 1", "the whole file"),
        ("a: [", "not YAML"),
    ],
)
def test_faults_of_the_file_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_facts(facts_file(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read"):
        read_facts(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"code": {"hash": None, "commit": None}}, "evaluation.code"),
        ({"hardware": {}}, "evaluation.hardware"),
        ({"software": {}}, "evaluation.software"),
        ({"model": MODEL.model_copy(update={"weights": ""})}, "evaluation.weights"),
    ],
)
def test_results_that_say_too_little(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    write(tmp_path / "eval", [task_of("one", (0.5,))], **changes)
    with pytest.raises(DataError, match=f"would lack {told}\\.") as caught:
        gather(tmp_path / "eval", energy="3", facts=facts_file(tmp_path))
    assert "glm eval run" in caught.value.next_step


def test_tasks_without_files_or_licence(tmp_path: Path) -> None:
    write(tmp_path / "eval", [task_of("one", (0.5,), files=()), task_of("two", (0.5,), licence="")])
    with pytest.raises(DataError, match=r"lack evaluation\.files\.one, evaluation\.licence\.two\."):
        gather(tmp_path / "eval", energy="3", facts=facts_file(tmp_path))


def test_the_skeleton_names_the_sources_there_are() -> None:
    training = Training(data=(Source(name="wiki.en", planned=0.5),))
    assert "training.data.wiki.en.sha256" in missing(training)
    assert "{name: wiki.en, planned: , consumed: , sha256: }" in skeleton(training)


def energy(text: str | None = None, watts: float | None = None, carbon: float | None = None, hours: float | None = 9):
    return energy_of(text, watts, carbon, training_hours=hours, evaluation_hours=1.0)


def test_energy() -> None:
    assert energy() is None
    given = energy("442400", carbon=0.581)
    assert given is not None
    assert given.kwh == 442_400
    assert given.kilograms == pytest.approx(257_034.4)  # the paper's 257 t
    assert given.share_of_paper == 1
    estimated = energy(watts=300)
    assert estimated is not None
    assert (estimated.kwh, estimated.kilograms) == (pytest.approx(3.0), None)
    assert "300 W, as given, times 10 hours" in estimated.how
    lost = energy("unknown", carbon=0.5)
    assert lost is not None
    assert (lost.kwh, lost.kilograms, lost.share_of_paper) == (None, None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "much"},
        {"text": "-1"},
        {"text": "nan"},
        {"watts": -1.0},
        {"watts": float("inf")},
        {"text": "3", "watts": 3.0},
        {"watts": 3.0, "hours": None},
        {"text": "3", "carbon": -0.1},
    ],
)
def test_energy_that_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        energy(**wrong)  # type: ignore[arg-type]


def test_watts_with_unknown_hours(folder: Path, tmp_path: Path) -> None:
    facts = facts_file(tmp_path, FACTS.replace("hours: 1440", "hours: unknown"))
    with pytest.raises(ConfigError, match="needs the hours"):
        gather(folder, watts=100, facts=facts)
    report = gather(folder, watts=100, facts=facts_file(tmp_path))
    assert report.energy.kwh == pytest.approx(100 * 1441 / 1000)
