"""Entry point: runs a command; an expected failure is one clear message on standard error and its exit code."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from cvlab.cli import app
from cvlab.errors import CvlabError
from cvlab.stopping import Terminated
from cvlab.text import printable_lines


def main() -> None:
    """Runs cvlab."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except CvlabError as error:
        print(printable_lines(f"cvlab: {error}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except Terminated:
        sys.exit(143)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


if __name__ == "__main__":
    main()
