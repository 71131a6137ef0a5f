"""`python -m inceptions` is the command `inceptions`, where scripts are not on the path or a launcher wants one."""

from __future__ import annotations

import sys

from inceptions.cli import main

if __name__ == "__main__":  # worker processes import this module again, under another name
    sys.exit(main())
