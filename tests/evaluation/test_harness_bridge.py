"""lm-evaluation-harness and ``glm eval run`` on the same files give the same numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import FIXTURES, task_of
from test_harness_export import EXPORTABLE, read_lines
from toy import official

from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, DataError
from glm130b.evaluation import Engine, Options, Runner, Task, read_task_records
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.harness import export_task
from glm130b.evaluation.harness.export import own_metric
from glm130b.evaluation.items import Answer, Choose, Predict, Request
from glm130b.evaluation.modes import MODES
from glm130b.evaluation.plan import plan_of
from glm130b.evaluation.results import TaskResult
from glm130b.evaluation.seen import Seen
from glm130b.evaluation.task import Attention, Decode, Mask
from glm130b.inference import conventions_of
from glm130b.interop import write_folder
from glm130b.model import GLM, build_model
from glm130b.tokenization import Tokenizer

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: make test-harness installs it")

from glm130b.evaluation.harness import GLMHarness, run_harness

Instances = list[Any]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> tuple[Path, GLM]:
    """A folder with a random model of strong preferences, and the model."""
    config = ModelConfig(
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        ffn_size=64,
        vocab_size=-(-tokenizer.vocab_size // 64) * 64,
        max_sequence_length=512,
    )
    model = build_model(config, seed=0)
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=draws) * 0.2)
    folder = tmp_path_factory.mktemp("harness") / "model"
    write_folder(folder, model.state_dict(), config, tokenizer)
    return folder, model.eval().requires_grad_(False)


def instances(kind: str, *arguments: tuple[Any, ...], document: int | None = None) -> Instances:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=these, idx=n, metadata=("t", document, 1))  # type: ignore[arg-type]
        for n, these in enumerate(arguments)
    ]


def answers_of(model: GLM, tokenizer: Tokenizer, requests: Sequence[Request]) -> list[Answer]:
    found = dict(pair for batch in Engine(model, tokenizer).answer(requests) for pair in batch)
    return [found[n] for n in range(len(requests))]


def run_natively(task: Task, model: GLM, tokenizer: Tokenizer, out: Path, attention: Attention) -> TaskResult:
    encoder = Encoder(tokenizer, conventions_of(model, tokenizer), model.config.max_sequence_length)
    options = Options(attention=(attention,))
    runner = Runner(
        lambda requests, _: answers_of(model, tokenizer, requests), encoder, FIXTURES, out, Seen({}), options
    )
    return runner.run(task)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTABLE)
def test_both_paths_agree(name: str, asked: tuple[Path, GLM], tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Log-probabilities of every option within 1e-4, equal texts, equal scores; in each direction of attention."""
    folder, model = asked
    task = EXPORTABLE[name]
    task = task.model_copy(update={"decode": task.decode.model_copy(update={"max_new_tokens": 5})})
    for attention in task.attention:
        here = tmp_path / attention
        options = Options(attention=(attention,))
        names = export_task(task, here / "tasks", data=FIXTURES, options=options)
        results = run_harness(names, folder, here / "out", folders=[here / "tasks"])
        native = run_natively(task, model, tokenizer, here / "native", attention)
        records = list(read_task_records(here / "native", "samples", name))
        for harness_name, measurement in zip(names, native.measurements, strict=True):
            samples = results["samples"][harness_name]
            mine = [record for record in records if record["measurement"] == measurement.key]
            compare_samples(task, samples, mine)
            scores = {
                score.metric if score.aggregate == "micro" else f"{score.metric}_macro": score.value
                for score in measurement.scores
            }
            found = results["results"][harness_name]
            for metric, value in scores.items():
                key = own_metric(task) or metric
                assert nan_as_none(found[f"{key},none"]) == pytest.approx(value, rel=1e-5), metric


def nan_as_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def compare_samples(task: Task, samples: list[dict[str, Any]], mine: list[dict[str, Any]]) -> None:
    assert [sample["doc"]["id"] for sample in samples] == [record["id"] for record in mine]
    for sample, record in zip(samples, mine, strict=True):
        results = sample["filtered_resps"]
        if task.mode == "choice":
            assert [value for value, _ in results] == pytest.approx(record["log_probs"], abs=1e-4)
        elif task.mode == "generate":
            assert results == record["texts"]
        else:
            assert -results[0] == pytest.approx(record["nats"], abs=1e-4)


@pytest.mark.slow
def test_what_lies_in_the_folder_afterwards(asked: tuple[Path, GLM], tmp_path: Path) -> None:
    names = export_task(task_of("clue/afqmc"), tmp_path / "tasks", data=FIXTURES)
    out = tmp_path / "out"
    results = run_harness(["glm_clue_afqmc"], asked[0], out, folders=[tmp_path / "tasks"], limit=3)
    assert set(results["results"]) >= set(names)
    written = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert written["config"]["glm130b"]["mask"] == "[MASK]"
    assert len(written["config"]["glm130b"]["weights"]) == 64
    assert written["results"][names[0]]["acc,none"] == results["results"][names[0]]["acc,none"]
    assert len(read_lines(out / "samples" / f"{names[0]}.jsonl")) == 3


@pytest.mark.slow
def test_a_cache_is_used_again_but_not_by_another_mode(
    asked: tuple[Path, GLM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness's own cache would hand the first mode's answers to the second."""
    task = task_of("clue/afqmc").model_copy(update={"mask": "[gMASK]", "prompts": task_of("clue/afqmc").prompts[:1]})
    (task_name,) = export_task(
        task.model_copy(update={"prompts": (task.prompts[0].model_copy(update={"jinja": "{{ sentence1 }} ||| x"}),)}),
        tmp_path / "tasks",
        data=FIXTURES,
    )
    tasks = {"folders": [tmp_path / "tasks"], "use_cache": True}
    first = run_harness([task_name], asked[0], tmp_path / "out", **tasks)
    monkeypatch.setattr(Engine, "answer", lambda *_: pytest.fail("asked again"))
    again = run_harness([task_name], asked[0], tmp_path / "out", **tasks)
    assert again["results"] == first["results"]
    for file in (tmp_path / "tasks").rglob("*.yaml"):
        file.write_text(
            file.read_text(encoding="utf-8").replace(": bidirectional", ": unidirectional"), encoding="utf-8"
        )
    with pytest.raises(ConfigError, match=r"another attention \(bidirectional, not unidirectional\)"):
        run_harness([task_name], asked[0], tmp_path / "out", **tasks)


def test_a_cache_without_known_weights_is_refused(
    asked: tuple[Path, GLM], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    from lm_eval.api.model import CachingLM

    with pytest.raises(ConfigError, match="no digest"):
        CachingLM(GLMHarness(asked[1], tokenizer), str(tmp_path / "cache.db"))


def test_a_kill_keeps_what_was_answered(asked: tuple[Path, GLM], tokenizer: Tokenizer, tmp_path: Path) -> None:
    from lm_eval.api.model import CachingLM

    requests = instances("loglikelihood", *((f"Number {n}", " one") for n in range(4)))
    bridge = GLMHarness(asked[1], tokenizer, weights="w", batch_tokens=1)
    whole = bridge.loglikelihood(requests)
    cached, answer, count = CachingLM(bridge, str(tmp_path / "cache.db")), bridge._engine.answer, 0

    def stops(asked: Any) -> Any:
        nonlocal count
        for batch in answer(asked):
            count += 1
            if count == 3:
                raise KeyboardInterrupt
            yield batch

    bridge._engine.answer = stops  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cached.loglikelihood(requests)
    assert cached.loglikelihood(requests) == whole
    assert count == 5


@pytest.mark.parametrize(
    ("mask", "attention", "text"),
    [
        ("[MASK]", "bidirectional", "The cat [MASK] on the mat."),
        ("[MASK]", "bidirectional", "The cat"),
        ("[gMASK]", "bidirectional", "The cat "),
        ("[gMASK]", "unidirectional", "今天天气"),
    ],
)
def test_options_of_a_document_share_a_pass_and_answers_keep_their_places(
    mask: Mask, attention: Attention, text: str, asked: tuple[Path, GLM], tokenizer: Tokenizer
) -> None:
    """Equal to each option alone, to rounding; and a repeated request has the same answer."""
    bridge = GLMHarness(asked[1], tokenizer, mask=mask, attention=attention)
    options = [" sat", " has been sitting", " sat", " 很好"]
    together = bridge.loglikelihood(instances("loglikelihood", *((text, option) for option in options)))
    for option, (value, greedy) in zip(options, together, strict=True):
        ((alone, greedy_alone),) = bridge.loglikelihood(instances("loglikelihood", (text, option)))
        assert value == pytest.approx(alone, abs=1e-4)
        assert greedy == greedy_alone
    assert together[0] == together[2]


def test_what_greedy_decoding_writes_is_greedy(asked: tuple[Path, GLM], tokenizer: Tokenizer) -> None:
    """Where it decodes to ordinary text: one token, which no other option has."""
    bridge = GLMHarness(asked[1], tokenizer)
    encoder = Encoder(tokenizer, conventions_of(asked[1], tokenizer), 512)
    found = 0
    for n in range(12):
        text = f"Number {n} is"
        every = encoder.choose(text, ["x"], mask="[MASK]").text
        (answer,) = answers_of(
            asked[1], tokenizer, [Choose(every, tuple((token,) for token in range(tokenizer.vocab_size)), "[MASK]")]
        )
        best = max(range(tokenizer.vocab_size), key=lambda token: answer.log_probs[token])
        written = tokenizer.decode([best])
        if tokenizer.encode(written) != [best] or not written.startswith(" ") or not written.strip():
            continue
        found += 1
        (value, greedy), (_, other) = bridge.loglikelihood(instances("loglikelihood", (text, written), (text, " no")))
        assert greedy
        assert not other
        assert value == pytest.approx(answer.log_probs[best], abs=1e-5)
    assert found > 1


def test_official_models_put_the_space_before_an_answer_themselves(
    asked: tuple[Path, GLM], tokenizer: Tokenizer
) -> None:
    bridge = GLMHarness(official(asked[1]), tokenizer)
    spaced, bare, own = bridge.loglikelihood(
        instances("loglikelihood", ("The sky is", " blue"), ("The sky is", "blue"), ("The sky is", "  blue"))
    )
    assert spaced == bare != own


def test_documents_are_read_in_the_authors_windows(asked: tuple[Path, GLM], tokenizer: Tokenizer) -> None:
    text = "The sky over the town was blue, and nobody knew why. " * 30
    bridge = GLMHarness(asked[1], tokenizer, mask="[gMASK]", window=64, scored=16)
    found = bridge.loglikelihood_rolling(instances("loglikelihood_rolling", (text,), ("",), ("Short.",)))
    encoder = Encoder(tokenizer, conventions_of(asked[1], tokenizer), 512)
    for document, value in zip((text, "", "Short."), found, strict=True):
        windows: list[Predict] = encoder.windows(document, window=64, scored=16, mask="[gMASK]")
        answers = answers_of(asked[1], tokenizer, windows)
        assert value == pytest.approx(sum(answer.log_probs[0] for answer in answers), abs=1e-4)
    assert found[1] == 0.0


def test_texts_end_where_they_are_told_to(asked: tuple[Path, GLM], tokenizer: Tokenizer) -> None:
    bridge = GLMHarness(asked[1], tokenizer, mask="[gMASK]")
    encoder = Encoder(tokenizer, conventions_of(asked[1], tokenizer), 512)
    (whole,) = bridge.generate_until(instances("generate_until", ("The sky", {"max_gen_toks": 12})))
    decode = Decode(max_new_tokens=12)
    (answer,) = answers_of(
        asked[1], tokenizer, [encoder.write("The sky", mask="[gMASK]", attention="bidirectional", decode=decode)]
    )
    assert whole == answer.text != ""
    stop = whole[3:5]
    (cut,) = bridge.generate_until(instances("generate_until", ("The sky", {"max_gen_toks": 12, "until": [stop]})))
    assert cut == whole[: whole.find(stop)].strip()


def test_draws_differ_and_come_again(asked: tuple[Path, GLM], tokenizer: Tokenizer) -> None:
    bridge = GLMHarness(asked[1], tokenizer, mask="[gMASK]")
    drawn = {"do_sample": True, "temperature": 5.0, "max_gen_toks": 8}
    requests = instances("generate_until", *[("The sky", drawn)] * 3)
    found = bridge.generate_until(requests)
    assert len(set(found)) == 3
    assert bridge.generate_until(requests) == found
    assert bridge.generate_until(instances("generate_until", ("The sky", {**drawn, "seed": 1}))) != found[:1]


def test_what_cannot_be_asked_is_refused(asked: tuple[Path, GLM], tokenizer: Tokenizer) -> None:
    model = asked[1]
    with pytest.raises(ConfigError, match="no unidirectional form"):
        GLMHarness(model, tokenizer, attention="unidirectional")
    with pytest.raises(ConfigError, match="no mask 'MASK'"):
        GLMHarness(model, tokenizer, mask="MASK")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot score 9"):
        GLMHarness(model, tokenizer, window=8, scored=9)
    bridge = GLMHarness(model, tokenizer, mask="[gMASK]")
    with pytest.raises(DataError, match=r"holds 1 \[MASK\]"):
        bridge.loglikelihood(instances("loglikelihood", ("a [MASK] b", " c")))
    with pytest.raises(ConfigError, match="'stop_at'"):
        bridge.generate_until(instances("generate_until", ("a", {"stop_at": "x"})))
    with pytest.raises(ConfigError, match="no chat template"):
        bridge.apply_chat_template([{"role": "user", "content": "x"}])


@pytest.mark.slow
def test_a_task_that_is_not_there_is_named(asked: tuple[Path, GLM], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no task nowhere"):
        run_harness(["nowhere"], asked[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_cut_is_told(asked: tuple[Path, GLM], tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    bridge = GLMHarness(asked[1], tokenizer)
    bridge.loglikelihood(instances("loglikelihood", ("blue sky " * 600, " c"), ("short", " c")))
    assert "1 of 2 contexts were too long and lost their beginning" in caplog.text


@pytest.mark.slow
def test_by_name_as_the_harness_makes_it(asked: tuple[Path, GLM], tokenizer: Tokenizer, tmp_path: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    (task_name, *_) = export_task(task_of("clue/afqmc"), tmp_path / "tasks", data=FIXTURES)
    manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    asked_of = {"tasks": [task_name], "task_manager": manager, "bootstrap_iters": 0, "batch_size": 4}
    by_string = simple_evaluate(model="glm130b", model_args=f"pretrained={asked[0]},mask=[MASK]", **asked_of)
    by_tree = simple_evaluate(model="glm130b", model_args={"pretrained": str(asked[0])}, device="cpu", **asked_of)
    by_hand = simple_evaluate(model=GLMHarness(asked[1], tokenizer), **asked_of)
    assert by_string["results"] == by_tree["results"] == by_hand["results"]
    assert GLMHarness(asked[1], tokenizer).tokenizer_name.endswith(tokenizer.fingerprint)


def test_modes_that_are_exported_are_all_there_is() -> None:
    assert {task.mode for task in EXPORTABLE.values()} == {"choice", "generate", "lm"} < set(MODES)
    assert any(shots for task in EXPORTABLE.values() for _, shots, _ in plan_of(task, Options()))
