"""Run the command line with `python -m packsort`."""

import sys

from packsort.cli import main

if __name__ == "__main__":
    sys.exit(main())
