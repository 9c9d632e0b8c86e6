"""Workers, signals and kills: the same bytes in the end, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_build import Line, english, line, tree

from glm130b.config import BuildConfig
from glm130b.corpus import build
from glm130b.corpus.job import Stage
from glm130b.errors import ConfigError, DataError, ResourceError
from glm130b.files import partial_path

pytestmark = pytest.mark.slow

BUILD = """
import json, sys
from pathlib import Path
from glm130b.config import BuildConfig
from glm130b.corpus import build
from glm130b.errors import GLMError


if __name__ == "__main__":
    recipe, out, workers = sys.argv[1:]
    try:
        build(BuildConfig.model_validate_json(recipe), Path(out), workers=int(workers))
    except GLMError as error:
        print(error)
        sys.exit(error.exit_code)
"""
"""A whole build in a process of its own, whose workers are its children."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """Some parts with duplicates across them."""
    folder = tmp_path_factory.mktemp("in")
    for number in range(3):
        lines = [line(f"{number}-{n}", english(n if n % 5 else 7 * number + n), lang="en") for n in range(80)]
        (folder / f"part{number}.jsonl").write_bytes(b"".join(lines))
    sources = {f"s{n}": {"path": str(folder / f"part{n}.jsonl")} for n in range(3)}
    tests = folder / "tests.txt"
    tests.write_text(english(3, 25) + "\n")
    settings = {"against": str(tests), "action": "drop-span"}
    return BuildConfig.model_validate({"sources": sources, "part_bytes": 8000, "contamination": settings})


@pytest.fixture(scope="module")
def undisturbed(recipe: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "corpus"
    build(recipe, out, workers=1)
    return tree(out)


class Count:
    """A reporter that adds up what it is told."""

    def __init__(self) -> None:
        self.stages: list[tuple[Stage, int, int, int]] = []
        self.documents: dict[Stage, int] = {}
        self.bytes: dict[Stage, int] = {}

    def note(self, text: str) -> None:
        pass

    def begin(self, stage: Stage, num_tasks: int, total_bytes: int, done_bytes: int) -> None:
        self.stages.append((stage, num_tasks, total_bytes, done_bytes))

    def advance(self, documents: int, num_bytes: int) -> None:
        stage = self.stages[-1][0]
        self.documents[stage] = self.documents.get(stage, 0) + documents
        self.bytes[stage] = self.bytes.get(stage, 0) + num_bytes


@pytest.mark.slow
def test_two_workers_write_the_same(recipe: BuildConfig, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    count = Count()
    build(recipe, tmp_path / "corpus", workers=2, reporter=count)
    assert tree(tmp_path / "corpus") == undisturbed
    assert [stage for stage, *_ in count.stages] == ["clean", "match", "write"]
    for stage, _, total, done in count.stages:
        assert done == 0
        if stage == "clean":
            assert count.bytes[stage] == total
    assert count.documents["clean"] == count.documents["write"] == 240


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(recipe: BuildConfig, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    out, kills = tmp_path / "corpus", 0
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    command = [sys.executable, str(script), recipe.model_dump_json(), str(out), "2"]
    waits = random.Random(4)
    for results in (0, 1, 4, 8):
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None and len(list(partial_path(out).glob("*/[0-9]*"))) <= results:
            time.sleep(0.01)
        time.sleep(waits.uniform(0, 0.05))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)  # the workers notice and end by themselves
            kills += 1
        process.wait()
    assert kills >= 2
    assert subprocess.run(command, check=False).returncode == 0
    assert tree(out) == undisturbed
    assert not partial_path(out).exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc, which only Linux has")
def test_workers_end_with_their_parent(recipe: BuildConfig, tmp_path: Path) -> None:
    script, mark = tmp_path / "build.py", f"mark-{os.getpid()}"
    script.write_text(BUILD)
    command = [sys.executable, str(script), recipe.model_dump_json(), str(tmp_path / mark), "2"]
    process = subprocess.Popen(command)
    while not (children := _children(process.pid)) or not list(partial_path(tmp_path / mark).glob("clean/*")):
        time.sleep(0.01)
        assert process.poll() is None
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{child}/cmdline").exists() and _is_python(child) for child in children):
        assert time.monotonic() < end, children
        time.sleep(0.05)


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


def _is_python(process: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


class KillOne(Count):
    """Kills a worker once the first documents are dealt with, as the system does when memory is short."""

    def __init__(self, kind: signal.Signals) -> None:
        super().__init__()
        self._kind, self._is_done = kind, False

    def advance(self, documents: int, num_bytes: int) -> None:
        super().advance(documents, num_bytes)
        workers = [child for child in _children(os.getpid()) if _is_python(child)]
        if self.stages[-1][0] == "clean" and workers and not self._is_done:
            self._is_done = True
            os.kill(workers[-1], self._kind)


@pytest.mark.slow
def test_a_killed_worker_is_named_by_its_part(
    tmp_path: Path, recipe: BuildConfig, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "corpus"
    with pytest.raises(ResourceError) as told:
        build(recipe, out, workers=2, reporter=KillOne(signal.SIGKILL))
    assert re.search(
        r"was ended by signal 9 at (part \d+ of )?stage \w+.*, probably for lack of memory\.", str(told.value)
    )
    assert "same command" in told.value.next_step
    build(recipe, out, workers=1)
    assert tree(out) == undisturbed


@pytest.mark.slow
def test_an_error_of_a_worker_is_told_whole(tmp_path: Path) -> None:
    for name in "ab":
        lines = [line(f"{name}{n}", english(n), lang="en") for n in range(20)]
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "b.jsonl.gz").write_bytes(b"\x1f\x8b not really")
    sources = {name: {"path": str(tmp_path / name)} for name in ("a.jsonl", "b.jsonl", "b.jsonl.gz")}
    recipe = BuildConfig.model_validate({"sources": {key.replace(".", "-"): value for key, value in sources.items()}})
    with pytest.raises(DataError) as told:
        build(recipe, tmp_path / "corpus", workers=2)
    assert "b.jsonl.gz" in told.value.problem
    assert "What was finished is kept in" in told.value.next_step or not partial_path(tmp_path / "corpus").exists()


@pytest.mark.slow
def test_a_full_disk_is_said_and_nothing_is_lost(
    tmp_path: Path, recipe: BuildConfig, undisturbed: dict[str, bytes]
) -> None:
    out, script = tmp_path / "corpus", tmp_path / "build.py"
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
    script.write_text(limit + BUILD)
    command = [sys.executable, str(script), recipe.model_dump_json(), str(out), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (6, "")
    assert done.stdout.startswith("Cannot write ")
    assert "too large" in done.stdout
    assert not out.exists()
    build(recipe, out, workers=1)
    assert tree(out) == undisturbed


@pytest.mark.slow
def test_two_builds_of_one_folder(tmp_path: Path, recipe: BuildConfig) -> None:
    out = tmp_path / "corpus"

    class Second(Count):
        def begin(self, stage: Stage, num_tasks: int, total_bytes: int, done_bytes: int) -> None:
            with pytest.raises(ResourceError, match="Another process is building"):
                build(recipe, out, workers=1)
            assert (partial_path(out) / "job.json").exists()

        def advance(self, documents: int, num_bytes: int) -> None:
            pass

    build(recipe, out, workers=1, reporter=Second())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_datatrove_writes_the_same(
    tmp_path: Path, recipe: BuildConfig, undisturbed: dict[str, bytes], workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """And says nothing to the terminal, whose bar is ours."""
    build(recipe, tmp_path / "corpus", engine="datatrove", workers=workers)
    assert tree(tmp_path / "corpus") == undisturbed
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


SBATCH = """#!/bin/sh
for script; do :; done
array=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
for task in $(seq 0 "${array:-0}"); do
  SLURM_ARRAY_TASK_ID=$task SLURM_NODELIST=here RUN_OFFSET=0 bash "$script" >> "$0.log" 2>&1
done
echo Submitted batch job 7
"""
SRUN = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do case $1 in -n) shift ;; esac; shift; done
exec "$@"
"""


@pytest.mark.slow
def test_slurm_gets_tasks_that_write_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: BuildConfig, undisturbed: dict[str, bytes]
) -> None:
    """With commands in place of Slurm's that run every task at once, on this machine."""
    commands = tmp_path / "bin"
    commands.mkdir()
    here = Path(sys.executable).parent
    for name, content in {
        "sbatch": SBATCH,
        "srun": SRUN,
        "scontrol": "#!/bin/sh\necho here\n",
        "squeue": "#!/bin/sh\n",
    }.items():
        (commands / name).write_text(content)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{here}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    sources = {name: recipe.sources[name] for name in ("s0", "s1")}
    small = recipe.model_copy(update={"part_bytes": 10**6, "sources": sources})
    build(small, tmp_path / "expected", workers=1)
    options: dict[str, Any] = {"partition": "cpu", "time": "1:00:00", "cpus_per_task": 1}
    build(small, tmp_path / "corpus", engine="slurm", engine_options=options)
    assert tree(tmp_path / "corpus") == tree(tmp_path / "expected")


@pytest.mark.slow
def test_what_a_cluster_lacks_is_said(tmp_path: Path, recipe: BuildConfig) -> None:
    with pytest.raises(ConfigError, match=r"engine slurm do not fit: .*partition"):
        build(recipe, tmp_path / "corpus", engine="slurm")
    with pytest.raises(ConfigError, match=r"engine datatrove do not fit: .*nonsense"):
        build(recipe, tmp_path / "corpus", engine="datatrove", engine_options={"nonsense": 1})
    with pytest.raises(ConfigError, match="no effect on engine local"):
        build(recipe, tmp_path / "corpus", engine_options={"partition": "cpu"})
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="needs ray, which is not installed"):
            build(recipe, tmp_path / "corpus", engine="ray")
    assert not partial_path(tmp_path / "corpus").exists()


def test_sources_of_a_command_line(tmp_path: Path) -> None:
    from glm130b.corpus import sources_of

    for name in ("news.en.jsonl", "news.zh.jsonl.gz", "README.md", "a.txt", "b.txt", "books/x.jsonl", "my file.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    sources, left_out = sources_of([tmp_path, tmp_path / "books" / "x.jsonl"])
    assert {name: [path.name for path in paths] for name, paths in sources.items()} == {
        tmp_path.name: ["a.txt", "b.txt"],
        "books": ["books"],
        "my_file": ["my file.jsonl"],
        "news": ["news.en.jsonl", "news.zh.jsonl.gz"],
        "x": ["x.jsonl"],
    }
    assert [path.name for path in left_out] == ["README.md"]
    for name in ("papers/a.pdf", "papers/b/c.pdf", "books/cover.png", "old/data_ledger.json", "old/documents.jsonl.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".partial-new").mkdir()
    (tmp_path / ".partial-new" / "hits.jsonl").write_text("")
    again, left_out = sources_of([tmp_path, tmp_path / "books" / "x.jsonl"])
    assert again == sources
    assert [str(path.relative_to(tmp_path)) for path in left_out] == ["README.md", "old", "papers", "books/cover.png"]
    with pytest.raises(DataError, match="There is no file or folder"):
        sources_of([tmp_path / "nope"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file that can be read"):
        sources_of([tmp_path / "empty"])


def test_lines_are_what_they_seem(recipe: BuildConfig) -> None:
    """The fixture has duplicates across its files, or the tests above show less than they say."""
    paths = [Path(source.path[0]) for source in recipe.active_sources.values()]
    documents: list[Line] = [json.loads(text) for path in paths for text in path.read_text().splitlines()]
    assert len({document["text"] for document in documents}) < len(documents)
