"""The parts of a repetition under way: each in its process, `status.json` kept true, and how to go on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from signal import SIGINT, SIGTERM
from typing import IO

from cvlab.console import Console
from cvlab.errors import CvlabError, DataError, Interrupted, WriteError
from cvlab.part_process import Outcome, run_part
from cvlab.repetitions import Parent, is_finished
from cvlab.resume import held
from cvlab.run_folder import RunFolder, read_json, write_json
from cvlab.stopping import EXIT_CODES, Terminated


class PartFailed(CvlabError):
    """A part ended with an error, which it has told itself."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def held_alone(parent: Parent) -> Iterator[IO[str]]:
    """Holds the parent's folder and clears what a killed command left half-written there; parts look after theirs.

    Raises:
        RunFolderError: Another process uses it.
    """
    folder = parent.folder
    with held(folder) as lock:
        for own in (folder.path, folder.predictions("test").parent, folder.plots):
            for leftover in own.glob(".*.tmp*"):
                leftover.unlink(missing_ok=True)
        yield lock


def train(parent: Parent, part: str, *, lock: IO[str], verbose: bool) -> None:
    """Trains a part in a process of its own.

    Raises:
        Interrupted: This process was told to stop.
        PartFailed: The part failed.
    """
    outcome = _run("train", parent, part, lock=lock, verbose=verbose)
    if code := _stopped(outcome):
        raise Interrupted(f"{parent.repetitions.title(part)}: {_reached(parent.run(part))}", exit_code=code)
    _check(parent, part, outcome)


def _reached(run: RunFolder) -> str:
    """What became of a part that was told to stop."""
    if is_finished(run):
        return "Finished."
    status = read_json(run.status) if run.status.is_file() else {}
    if status.get("status") == "interrupted" and status.get("reason"):
        return str(status["reason"])
    return "Stopped at once; what it saved last is intact." if run.last.is_file() else "Stopped before training."


def evaluate(parent: Parent, part: str, more: Sequence[str], *, lock: IO[str], verbose: bool) -> None:
    """Evaluates a part in a process of its own; `more` are the options of the command.

    Raises:
        Interrupted: This process was told to stop.
        PartFailed: The part failed.
    """
    outcome = _run("evaluate", parent, part, *more, lock=lock, verbose=verbose)
    if code := _stopped(outcome):
        title, again = parent.repetitions.title(part), f"cvlab evaluate {parent.path}"
        raise Interrupted(f"Stopped while {title} was evaluated. To evaluate all again: {again}", exit_code=code)
    _check(parent, part, outcome)


def _run(what: str, parent: Parent, part: str, *more: str, lock: IO[str], verbose: bool) -> Outcome:
    return run_part(["part", what, str(parent.path), part, *more, *(["--verbose"] if verbose else [])], lock=lock)


def _stopped(outcome: Outcome) -> int | None:
    """The exit code where this process was told to stop, or the part itself was and has saved."""
    if outcome.stopped_by is not None:
        return EXIT_CODES[outcome.stopped_by]
    return outcome.code if outcome.code in EXIT_CODES.values() else None


def _check(parent: Parent, part: str, outcome: Outcome) -> None:
    title = parent.repetitions.title(part)
    if outcome.killed_by:
        memory = ", perhaps because memory ran out" if outcome.killed_by == "SIGKILL" else ""
        message = f"{title}: was ended by {outcome.killed_by}{memory}; what it saved last is intact."
        raise PartFailed(message, exit_code=outcome.exit_code)
    if outcome.code:
        raise PartFailed(f"{title}: failed; the reason stands above.", exit_code=outcome.exit_code)


@contextmanager
def status(parent: Parent, console: Console) -> Iterator[None]:
    """Keeps `status.json` true, and says how to go on. Where no part has begun, nothing is left."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        number = SIGTERM if isinstance(stop, Terminated) else SIGINT
        raise _ended(parent, console, Interrupted("Stopped.", exit_code=EXIT_CODES[number])) from None
    except (Interrupted, PartFailed) as error:
        raise _ended(parent, console, error) from None
    except (WriteError, DataError) as error:
        # The disk or the data: what can be put right, so that the same folder goes on.
        with suppress(WriteError):
            write_status(parent, "failed", reason=str(error))
        raise type(error)(
            f"{error}\nWhat was saved before is whole. When this is put right, go on with: "
            f"cvlab train --resume {parent.path}"
        ) from error
    except BaseException as error:
        with suppress(WriteError):
            write_status(parent, "failed", reason=str(error) or type(error).__name__)
        raise
    write_status(parent, "done")


def _ended(parent: Parent, console: Console, error: Interrupted | PartFailed) -> Interrupted | PartFailed:
    """Notes why a repetition ended; returns the same error with the way to go on."""
    if not parent.begun():
        shutil.rmtree(parent.path, ignore_errors=True)
        return type(error)(f"{error} Nothing was trained, and no folder is left.", exit_code=error.exit_code)
    interrupted = isinstance(error, Interrupted)
    # On a full disk too the user is told how to go on.
    with suppress(WriteError):
        write_status(parent, "interrupted" if interrupted else "failed", reason=str(error))
    done = f"{len(parent.finished())} of {len(parent.repetitions.parts)} {parent.repetitions.kind} are finished."
    how = "Go on" if interrupted else "When the cause is removed, go on"
    message = f"{error}\n{done} {how} with: cvlab train --resume {parent.path}"
    console.log(message)
    return type(error)(message, exit_code=error.exit_code)


def write_status(parent: Parent, status: str, *, reason: str = "", part: str | None = None) -> None:
    """Writes `status.json`: running (which part), done, failed or interrupted, and what is finished."""
    at = {} if part is None else {"part": part}
    write_json(parent.folder.status, {"status": status, "reason": reason, **at, "finished": parent.finished()})
