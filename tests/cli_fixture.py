"""The command line as a user meets it: what it prints and how it exits, in this process, since imports take seconds."""

from __future__ import annotations

import io
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest import mock

from cvlab.__main__ import main


class Outcome(NamedTuple):
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def cvlab(*words: object) -> Outcome:
    """Runs `cvlab WORDS...`; anything but an ordinary exit passes through, as a traceback would."""
    out, err, before = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    code: object = 0
    try:
        with mock.patch.object(sys, "argv", ["cvlab", *map(str, words)]), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as exit_:
        code = exit_.code or 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def refusal(*words: object) -> str:
    """The one line with which `cvlab WORDS...` refuses, without a traceback and with exit code 2."""
    outcome = cvlab(*words)
    assert outcome.code == 2, outcome
    lines = [line for line in outcome.err.splitlines() if line != "cvlab: The configuration has a problem:"]
    assert len(lines) == 1, outcome.err
    assert lines[0].isprintable()
    return lines[0].removeprefix("cvlab: ").strip()
