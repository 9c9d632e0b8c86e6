"""The files below a folder: links are followed, and nothing is passed over in silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from glm130b.errors import DataError


def walk_files(folder: Path, *, leave_out: Callable[[Path], bool] = lambda inner: False) -> list[Path]:
    """All files below a folder, sorted by path; links to files and folders are followed.

    A link back to a folder that it lies in is not followed: what is there is found already.

    Args:
        leave_out: says of each folder below whether it is not to be entered.

    Raises:
        DataError: a folder cannot be read, a link leads nowhere, or there is something that is neither file
            nor folder.
    """
    found: list[Path] = []
    todo: list[tuple[Path, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    try:
        while todo:
            place, above = todo.pop()
            status = place.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above or (place != folder and leave_out(place)):
                continue
            for name in os.listdir(place):  # noqa: PTH208
                path = place / name
                mode = path.stat().st_mode
                if stat.S_ISDIR(mode):
                    todo.append((path, above | {identity}))
                elif stat.S_ISREG(mode):
                    found.append(path)
                else:
                    raise DataError(f"{path} is neither a file nor a folder.", "Take it out of the folder.")
    except OSError as error:
        path = Path(error.filename or folder)
        problem = f"{path} cannot be read: {error.strerror}."
        if path.is_symlink() and not path.exists():
            problem = f"{path} is a link that leads nowhere."
        raise DataError(problem, "Mend it, or take it out of the folder.") from None
    return sorted(found)
