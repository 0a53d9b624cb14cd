"""`python -m fastbridge` is the `fastbridge` command."""

from __future__ import annotations

import sys

from fastbridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
