"""``python -m glm130b.kernels.cpu``: which kernels this machine uses; ``--build FILE`` builds a library to ship."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from glm130b.kernels.cpu import NoKernelsError, build, library


def main() -> int:
    """Parse, build or tell; 0, or 6 if there are no kernels."""
    parser = argparse.ArgumentParser(
        prog="python -m glm130b.kernels.cpu", description="Which kernels this machine uses."
    )
    parser.add_argument("--build", type=Path, metavar="FILE", help="compile the kernels into this shared library")
    parser.add_argument("--march", default="native", help="for which CPU, as gcc calls it; default this one")
    arguments = parser.parse_args()
    try:
        if arguments.build:
            build(arguments.build, march=arguments.march)
            print(f"Built {arguments.build}. GLM_KERNELS={arguments.build} uses it.")
            return 0
    except (NoKernelsError, OSError) as error:
        print(f"Error: {error}.", file=sys.stderr)
        return 6
    found = library()
    if found is None:
        return 6
    print(f"{found.body}, {found.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
