"""A model on disk through a list of tasks, to a folder of results."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from glm130b.code_hash import code_hash, git_commit
from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.answers import AnswerStore, answer_all
from glm130b.evaluation.data_files import split_by_data
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.engine import Engine
from glm130b.evaluation.identity import identity_of, weights_digest
from glm130b.evaluation.items import Answer, Request
from glm130b.evaluation.machine import hardware_facts, now, software_facts
from glm130b.evaluation.plan import Options, plan_of
from glm130b.evaluation.results import FILE, ModelFacts, Results, TaskResult, read_results, write_results
from glm130b.evaluation.run import Runner, Step
from glm130b.evaluation.seen import seen_of
from glm130b.evaluation.task import Task
from glm130b.inference import conventions_of
from glm130b.interop import GroupChoice, load, open_model, resolve
from glm130b.model import GLM, Bits
from glm130b.planning import parameter_count
from glm130b.tokenization import Tokenizer

ANSWERS = "answers.jsonl"
_BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}


def evaluate(
    tasks: Sequence[Task],
    model: Path,
    out: Path,
    *,
    data: Path | None = None,
    options: Options | None = None,
    suites: tuple[str, ...] = (),
    bits: Bits | None = None,
    group_size: GroupChoice | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    batch_tokens: int | None = None,
    skip_missing: bool = False,
    on_step: Callable[[Step], None] = lambda step: None,
    tell: Callable[[str], None] = warnings.warn,
) -> Results:
    """Measure a model and write ``results.json``, samples, prompts and units into a folder.

    Results of the same model with the same options that are in the folder stay there, but for the tasks measured
    anew. Answers are kept in ``answers.jsonl`` there, which only grows: what was answered before, by the same weights
    in the same precision to the same tokens, is not asked again.

    Args:
        model: a run, a checkpoint, a model folder or an official checkpoint.
        data: folder that holds the data sets in their official layouts.
        suites: names to be written down.
        batch_tokens: read side by side, padding included; default by the kind of device.
        skip_missing: leave out tasks whose files are not there, and say so in the results.
        on_step: told how far each task is.
        tell: given a sentence on what happens to what is there.

    Returns:
        The results; a task whose data or wordings turned out to be at fault is among ``failed``, with what is wrong.

    Raises:
        DataError, ConfigError: nothing can be measured, or the only task fails.
        ModelError, ResourceError: what was measured before is kept, as results that say that they are not complete.
    """
    options = options or Options()
    started, clock = now(), time.monotonic()
    _check_prompts(tasks, options)
    if out.is_file():
        raise DataError(f"{out} is a file.", "Name a folder for the results with --out.")
    if (out / "config.yaml").exists() or (out / "config.json").exists():
        raise DataError(f"{out} is a run or a model.", "Name another folder for the results with --out.")
    most_shots = [(task, max(shots for _, shots, _ in plan_of(task, options))) for task in tasks]
    there, missing = split_by_data(most_shots, data)
    if missing and (not there or not skip_missing):
        first = next(iter(missing.values()))
        others = f" And {len(missing) - 1} more tasks have no data; `glm eval list --data` lists them."
        raise DataError(
            first + (others if len(missing) > 1 else ""), "Leave such tasks out with --skip-missing." if there else ""
        )
    weights = weights_digest(model, out)
    network, tokenizer = load(model, dtype=dtype, device=device, bits=bits, group_size=group_size)
    conventions = conventions_of(network, tokenizer)
    kind = network.word_embeddings.weight.device.type
    engine = Engine(network, tokenizer, batch_tokens=batch_tokens or _BATCH_TOKENS.get(kind, _BATCH_TOKENS["cuda"]))
    facts, run = _facts(model, network, tokenizer, weights, bits, group_size)
    with AnswerStore(out / ANSWERS, identity_of(network, tokenizer, weights)) as store:

        def ask(requests: Sequence[Request], tell: Callable[[int], None]) -> list[Answer]:
            return answer_all(
                engine, store, requests, lambda so_far: tell(so_far.done * len(requests) // max(1, so_far.total))
            )

        runner = Runner(
            ask=ask,
            encoder=Encoder(tokenizer, conventions, network.config.max_sequence_length),
            data=data,
            out=out,
            seen=seen_of(run, official=network.config.conventions == "official"),
            options=options,
            on_step=on_step,
        )
        prompts = " of ".join(
            [", ".join(options.prompts) or "all", *([options.templates[1]] if options.templates else [])]
        )
        chosen = options.seed, options.limit, options.shots, prompts
        earlier = _earlier(out, facts, chosen, tell)
        kept = {task.name: task for task in earlier.tasks} if earlier else {}
        before = earlier.seconds if earlier else 0.0
        found: dict[str, TaskResult] = {}
        failed: dict[str, str] = {}
        for task in there:
            try:
                found[task.name] = runner.run(task)
            except (DataError, ConfigError) as error:
                failed[task.name] = f"{error.problem} {error.next_step}".strip()
                if len(failed) == len(there):
                    raise
            results = Results(
                suites=tuple(dict.fromkeys([*(earlier.suites if earlier else ()), *suites])),
                model=facts,
                code={"hash": code_hash(), "commit": git_commit()},
                software=software_facts(),
                hardware=hardware_facts(),
                started=started,
                finished=now(),
                seconds=before + time.monotonic() - clock,
                seed=options.seed,
                limit=options.limit,
                shots=options.shots,
                prompts=prompts,
                tasks=tuple((kept | found).values()),
                left_out=tuple(missing),
                failed=failed,
                complete=len(found) + len(failed) == len(there),
            )
            write_results(results, out)
    return results


def _earlier(
    out: Path,
    model: ModelFacts,
    chosen: tuple[int, int | None, tuple[int, ...] | None, str],
    tell: Callable[[str], None],
) -> Results | None:
    """Results in the folder that new ones belong to: of the same model, with the same options.

    Raises:
        DataError: they are another model's.
    """
    if not (out / FILE).exists():
        return None
    earlier = read_results(out)
    alike = ("weights", "tokenizer", "precision", "bits", "group_size", "conventions")
    if any(getattr(earlier.model, name) != getattr(model, name) for name in alike):
        raise DataError(
            f"{out} holds results of another model, or of another precision.", "Name another folder with --out."
        )
    if (earlier.seed, earlier.limit, earlier.shots, earlier.prompts) == chosen:
        return earlier
    tell(
        f"The results in {out} were of another --limit, --shots, --prompt, --templates or --seed and are replaced; "
        "their answers stay."
    )
    return None


def _check_prompts(tasks: Sequence[Task], options: Options) -> None:
    """Refuse an id that is no task's wording; those of templates are known when they are read."""
    known = {prompt.id for task in tasks for prompt in task.prompts}
    for name in options.prompts if options.templates is None else ():
        if name not in known:
            raise ConfigError(f"No task has a prompt {name}.", "`glm eval prompts TASK` prints what there is.")


def _facts(
    path: Path,
    network: GLM,
    tokenizer: Tokenizer,
    weights: str,
    bits: Bits | None,
    group_size: GroupChoice | None,
) -> tuple[ModelFacts, Path | None]:
    """What is written down of the model, and the run it is of."""
    folder = resolve(path)
    scheme = open_model(path, verify=False).scheme
    run = next((one for one in (folder, *folder.parents[:2]) if (one / "config.yaml").is_file()), None)
    facts = ModelFacts(
        path=str(path),
        weights=weights,
        tokenizer=tokenizer.fingerprint,
        parameters=parameter_count(network.config),
        config=network.config.model_dump(mode="json"),
        precision=str(network.dtype).removeprefix("torch."),
        bits=scheme.bits if scheme else bits,
        group_size=scheme.group_size if scheme else (None if group_size == "row" else group_size),
        conventions=network.config.conventions,
        run=str(run) if run else None,
        device=str(network.word_embeddings.weight.device),
    )
    return facts, run
