"""``python -m glm130b``: the same as the command ``glm``."""

from glm130b.cli.main import main

if __name__ == "__main__":
    main()
