"""``examples/cluster``: run with stand-ins, or held against what its cluster asks for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from jobs import STAND_IN, begin, end, free_port, steps, wait_for_step

from glm130b.cli.main import app
from glm130b.launch import EXIT_START_AGAIN, LaunchFolder, Machines

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"
SCRIPT = EXAMPLES / "train.sbatch"

SRUN = """\
#!/bin/bash
# One copy of the command for every machine; signals are passed on; ends with the highest exit code.
while [[ $1 == --* ]]; do shift; done
for ((n = 0; n < SLURM_JOB_NUM_NODES; n++)); do "$@" & tasks+=($!); done
echo "${tasks[@]}" > "$STAND_INS/tasks"
trap 'kill -TERM "${tasks[@]}"' TERM
highest=0
for task in "${tasks[@]}"; do
    wait $task; code=$?
    while kill -0 $task 2>/dev/null; do wait $task; code=$?; done
    ((code > highest)) && highest=$code
done
exit $highest
"""
SCONTROL = """\
#!/bin/bash
if [ "$1" = show ]; then printf 'localhost\\n%.0s' $(seq $SLURM_JOB_NUM_NODES); else echo "$@" >> "$STAND_INS/asked"; fi
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of two machines, both of them this one."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "STAND_INS": str(tmp_path),
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "node[0-1]",
        "RUN": str(tmp_path / "run"),
        "GLM": f"{sys.executable} {STAND_IN}",
        "PORT": str(free_port()),
    }


def submit(slurm: dict[str, str], **options: Any) -> subprocess.Popen[str]:
    return begin(["bash", str(SCRIPT), "--set", json.dumps({"nproc": 1, **options})], **slurm)


def test_the_script_is_bash_and_needs_a_run(slurm: dict[str, str]) -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    code, _, err = end(begin(["bash", str(SCRIPT)], **{**slurm, "RUN": ""}))
    assert code != 0
    assert "set RUN to the run's folder" in err


@pytest.mark.slow
def test_a_slurm_job_is_done_on_two_machines(slurm: dict[str, str]) -> None:
    code, out, err = end(submit(slurm))
    assert code == 0, err
    assert out.splitlines() == ["rank 0 of 2 from step 0", "Done."]
    assert [
        len(event["nodes"]) for event in LaunchFolder(Path(slurm["RUN"])).events() if event["event"] == "start"
    ] == [2]


@pytest.mark.slow
def test_a_slurm_job_is_queued_again_when_its_time_is_up(slurm: dict[str, str], tmp_path: Path) -> None:
    process = submit(slurm, steps=100_000, pause=0.02)
    wait_for_step(tmp_path / "run", 3, process)
    process.send_signal(signal.SIGTERM)
    code, _, err = end(process)
    assert (code, (tmp_path / "asked").read_text()) == (143, "requeue 17\n"), err
    assert (tmp_path / "run" / "checkpoints" / f"step-{steps(tmp_path / 'run')[-1]:08d}").is_dir()


@pytest.mark.slow
def test_a_slurm_job_is_not_queued_again_after_a_user_s_error(slurm: dict[str, str], tmp_path: Path) -> None:
    code, out, err = end(submit(slurm, faults=[[1, 1, 5, "user"]]))
    assert (code, (tmp_path / "asked").exists()) == (4, False), out
    assert err == "Error: shard-7 is damaged.\nCopy it again.\n"


def test_the_script_knows_the_exit_code_of_lost_machines() -> None:
    assert f"137 | {EXIT_START_AGAIN})" in SCRIPT.read_text()


def test_the_manifest_is_a_pytorchjob() -> None:
    """Fields of kubeflow.org/v1 as its Go types have them; the two variables as its operator sets them."""
    job = yaml.safe_load((EXAMPLES / "pytorchjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    spec, elastic = job["spec"], job["spec"]["elasticPolicy"]
    assert spec.keys() <= {"runPolicy", "elasticPolicy", "pytorchReplicaSpecs", "nprocPerNode"}
    assert elastic.keys() <= {"minReplicas", "maxReplicas", "rdzvBackend", "rdzvPort", "rdzvHost", "rdzvId", "rdzvConf"}
    assert spec["runPolicy"].keys() <= {
        "cleanPodPolicy",
        "ttlSecondsAfterFinished",
        "activeDeadlineSeconds",
        "backoffLimit",
        "schedulingPolicy",
        "suspend",
    }
    assert elastic["rdzvBackend"] == "c10d"
    assert spec["pytorchReplicaSpecs"].keys() == {"Worker"}, "an elastic job has no master"
    workers = spec["pytorchReplicaSpecs"]["Worker"]
    assert workers.keys() == {"replicas", "restartPolicy", "template"}
    assert elastic["minReplicas"] <= workers["replicas"] <= elastic["maxReplicas"]
    assert workers["restartPolicy"] == "ExitCode"
    pod = workers["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "pytorch"
    assert {"name": "pytorchjob-port", "containerPort": elastic["rdzvPort"]} in container["ports"]
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    words = " ".join([*container["command"], *container["args"]])
    words = words.replace("$(PET_NNODES)", f"{elastic['minReplicas']}:{elastic['maxReplicas']}")
    words = words.replace("$(PET_RDZV_ENDPOINT)", f"{job['metadata']['name']}-worker-0:{elastic['rdzvPort']}")
    command: Any = typer.main.get_command(app)
    assert words.split()[:2] == ["glm", "train"]
    options = command.commands["train"].make_context("train", words.split()[2:]).params
    machines = Machines.parse(options["nodes"], options["rendezvous"])
    assert (machines.fewest, machines.most) == (elastic["minReplicas"], elastic["maxReplicas"])
    assert str(options["out"]).startswith(container["volumeMounts"][0]["mountPath"])
