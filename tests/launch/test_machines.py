"""Options of several machines, and how many processes are started."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from glm130b.config import ParallelConfig
from glm130b.errors import ConfigError
from glm130b.launch import LaunchFolder, Machines, num_processes
from glm130b.launch.machines import num_cores, prepare_environment


def test_machines_are_read_from_the_options() -> None:
    assert Machines.parse(None, None).alone
    four = Machines.parse("4", "node-0:29500")
    assert (four.fewest, four.most, four.rendezvous, four.alone) == (4, 4, "node-0:29500", False)
    assert (Machines.parse("2:4", "[::1]:1").fewest, Machines.parse("2:4", "[::1]:1").most) == (2, 4)


def test_options_of_the_rendezvous_are_torchrun_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_RDZV_CONF", "last_call_timeout=5,join_timeout=60")
    assert Machines.parse("2", "a:1").options == {"last_call_timeout": "5", "join_timeout": "60"}
    monkeypatch.setenv("PET_RDZV_CONF", "last_call_timeout")
    with pytest.raises(ConfigError, match="PET_RDZV_CONF"):
        Machines.parse("2", "a:1")


@pytest.mark.parametrize(
    ("nodes", "rendezvous", "named"),
    [
        ("4", None, "--rendezvous"),
        (None, "a:1", "--nodes"),
        ("0", "a:1", "--nodes 0"),
        ("4:2", "a:1", "--nodes 4:2"),
        ("few", "a:1", "--nodes few"),
        ("2", "a", "--rendezvous a"),
    ],
)
def test_other_options_are_refused_by_name(nodes: str | None, rendezvous: str | None, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Machines.parse(nodes, rendezvous)


def test_the_number_of_processes() -> None:
    alone, four = Machines(), Machines(4, 4, "a:1")
    layout = ParallelConfig(pipeline=2, data=3)
    assert num_processes(5, layout, "auto", alone) == 5
    assert num_processes(None, layout, "cpu", alone) == 6
    assert num_processes(None, layout, "cpu", four) == 2
    assert num_processes(None, layout, "cuda:1", alone) == 1
    with mock.patch("torch.cuda.device_count", return_value=8):
        assert num_processes(None, layout, "auto", four) == 8
        assert num_processes(None, layout, "cpu", alone) == 6
    with pytest.raises(ConfigError, match="asks for 10000 processes"):
        num_processes(None, ParallelConfig(data=10_000), "cpu", alone)


def test_cores_are_shared_unless_the_user_says_otherwise() -> None:
    for given, expected in [({}, str(max(1, num_cores() // 64))), ({"OMP_NUM_THREADS": "7"}, "7")]:
        with mock.patch.dict(os.environ, given, clear=True):
            prepare_environment(64, Machines())
            assert os.environ["OMP_NUM_THREADS"] == expected
            assert os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"


def test_where_a_run_stands(tmp_path: Path) -> None:
    folder = LaunchFolder(tmp_path)
    assert folder.standing() == (0, "")
    (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".partial-step-00000006").mkdir()
    (tmp_path / "metrics.jsonl").write_text('{"step": 4}\n{"step": 5}\n{"step"')
    assert folder.standing() == (5, "step-00000004")
