"""The command line."""

import argparse
import os
import sys
from pathlib import Path

from mlcommons_py import settings
from mlcommons_py.errors import MLCommonsError


def main() -> None:
    """Run one command."""
    from mlcommons_py.app import run

    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--port")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    flags = {"port": arguments.port, "data": arguments.data}
    try:
        sys.exit(run(settings.read(flags, tuple(arguments.set), os.environ, None)))
    except MLCommonsError as fault:
        sys.exit(fault.reason)


if __name__ == "__main__":
    main()
