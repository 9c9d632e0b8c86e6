"""The tasks of a build: what any engine runs, in any order within a stage, any number of times."""

from __future__ import annotations

from pathlib import Path

from glm130b.corpus.clean import Advance, clean
from glm130b.corpus.duplicates import find_duplicates, write_matches
from glm130b.corpus.job import Job, Stage, open_job
from glm130b.corpus.write import write
from glm130b.files import whole_file


def match(job: Job, number: int, advance: Advance) -> None:
    """Find the documents with a key in one range that an earlier document has too.

    Makes ``match/<number>.bin``, rows of ``duplicates.MATCH``.

    Raises:
        ResourceError: the disk is full.
    """
    low, high = job.ranges[number]
    with whole_file(job.result("match", number)) as path:
        write_matches(path, find_duplicates(job.key_files, low, high))
    advance(0, job.task_bytes("match", number))


_TASKS = {"clean": clean, "match": match, "write": write}


def run_task(folder: Path, stage: Stage, number: int, advance: Advance = lambda documents, num_bytes: None) -> None:
    """Make the result of one task in the folder of a build, unless it is there.

    Args:
        advance: is told of documents and bytes (see ``Job.task_bytes``) as they are dealt with.

    Raises:
        DataError: an input or an earlier result is damaged.
        ResourceError: the disk is full.
    """
    job = open_job(folder)
    if not job.is_done(stage, number):
        _TASKS[stage](job, number, advance)
