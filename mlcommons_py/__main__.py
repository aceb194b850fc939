"""The program: ``mlcommons``, or ``python -m mlcommons_py``."""

import os
import sys
from typing import NoReturn

from mlcommons_py.cli import commands


def main() -> NoReturn:
    """Run the command line with this process's arguments and environment, and end with its exit status."""
    sys.exit(commands.run(sys.argv[1:], os.environ))


if __name__ == "__main__":
    main()
