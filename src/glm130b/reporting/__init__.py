"""One page that tells what was measured, how sure it is, and how to do it again."""

from glm130b.reporting.energy import Energy, energy_of
from glm130b.reporting.provenance import Source, Training, read_facts
from glm130b.reporting.report import Compared, Report, gather, write_report
from glm130b.reporting.run_facts import RunFacts, read_run

__all__ = [
    "Compared",
    "Energy",
    "Report",
    "RunFacts",
    "Source",
    "Training",
    "energy_of",
    "gather",
    "read_facts",
    "read_run",
    "write_report",
]
