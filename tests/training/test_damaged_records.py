"""Records of a run that were damaged: nothing beside the damage is lost, and the advice is one that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glm130b.errors import ModelError
from glm130b.training.ledger_lines import LEDGER, restore_ledger
from glm130b.training.metrics import MetricsLog, read_metrics


@pytest.mark.parametrize("line", ['{"step": 2, "lo', "junk", "[]", "{}"])
def test_a_damaged_line_takes_no_other_record_with_it(tmp_path: Path, line: str) -> None:
    metrics = tmp_path / "metrics.jsonl"
    records = [{"step": step, "loss": 1.0} for step in (1, 3, 4)]
    first, *others = (json.dumps(record) for record in records)
    metrics.write_text("\n".join([first, line, *others]) + "\n", encoding="utf-8")
    assert read_metrics(metrics) == records
    with MetricsLog(tmp_path, resumed_step=3):
        pass
    assert read_metrics(metrics) == records[:2]


def test_a_damaged_copy_of_the_ledger_is_not_to_be_restored_from_itself(tmp_path: Path) -> None:
    copy = tmp_path / "checkpoints" / "step-00000002" / LEDGER
    copy.parent.mkdir(parents=True)
    copy.write_text("junk\n", encoding="utf-8")
    with pytest.raises(ModelError, match="line 1, does not follow") as refused:
        restore_ledger(tmp_path / LEDGER, copy)
    assert "--resume" in refused.value.next_step
    assert not (tmp_path / LEDGER).exists()
