"""Starting the processes of a job, starting them again when they crash or hang, and being one of them."""

from glm130b.launch.diagnosis import Diagnosis, diagnose
from glm130b.launch.folder import EXIT_START_AGAIN, Ending, HangReport, LaunchFolder
from glm130b.launch.launcher import launch
from glm130b.launch.layout import Fitted, fit_to_world, plan_layout
from glm130b.launch.machines import Machines, num_processes, quiet_torch
from glm130b.launch.verdict import Failure, Verdict, decide
from glm130b.launch.watchdog import Heartbeat
from glm130b.launch.worker import Beat, Worker, is_worker, own_device, process_group, worker

__all__ = [
    "EXIT_START_AGAIN",
    "Beat",
    "Diagnosis",
    "Ending",
    "Failure",
    "Fitted",
    "HangReport",
    "Heartbeat",
    "LaunchFolder",
    "Machines",
    "Verdict",
    "Worker",
    "decide",
    "diagnose",
    "fit_to_world",
    "is_worker",
    "launch",
    "num_processes",
    "own_device",
    "plan_layout",
    "process_group",
    "quiet_torch",
    "worker",
]
