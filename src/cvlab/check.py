"""`cvlab check`: everything that is wrong with configurations, in seconds, before hours are spent on them."""

from __future__ import annotations

import io
import multiprocessing
import os
import shlex
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cvlab import memory
from cvlab.config_file import load_experiment
from cvlab.console import Console
from cvlab.errors import ConfigError, CvlabError, counted
from cvlab.preflight_text import Findings
from cvlab.sample_data import use_sample_data


@dataclass(frozen=True)
class Check:
    """What to check, and how; as words, so that another process can be given it.

    Attributes:
        config: The YAML file.
        overrides: `key=value` words.
        sample: Whether on drawn sample data.
        parent: Where a training would make its run folder.
        verbose: Whether TensorFlow may print its own messages, and unexpected errors come with their traceback.
    """

    config: Path
    overrides: tuple[str, ...]
    sample: bool
    parent: Path
    verbose: bool

    @property
    def command(self) -> str:
        """The training that was checked."""
        place = [] if self.parent == Path("runs") else ["--run-dir", str(self.parent)]
        words = [str(self.config), *self.overrides, *(["--sample"] if self.sample else []), *place]
        return f"cvlab train {shlex.join(words)}"


def check_all(checks: Sequence[Check], console: Console) -> bool:
    """Checks configurations, and prints what is found, the configurations' own problems first.

    Returns:
        Whether all of them are ready to train.
    """
    readable = [check for check in checks if _is_readable(check, console)]
    ready = [_check(check, console) for check in readable]
    if len(checks) > 1:
        console.say(f"{sum(ready)} of {counted(len(checks), 'configuration')} ready to train.")
    return sum(ready) == len(checks)


def _is_readable(check: Check, console: Console) -> bool:
    try:
        load_experiment(check.config, check.overrides)
    except ConfigError as error:
        console.say(f"{check.config}\n{error}\n")
        return False
    return True


def _check(check: Check, console: Console) -> bool:
    """Checks one configuration in a process of its own, with a device and a memory of its own."""
    console.say(str(check.config))
    with tempfile.TemporaryDirectory(prefix="cvlab-check-") as folder:
        found = _in_process(check, Path(folder))
    console.say(found.text(f"Ready to train: {check.command}") + "\n")
    return not found.problems


def _in_process(check: Check, folder: Path) -> Findings:
    before = memory.record()
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(check, folder, sender))
    process.start()
    sender.close()
    try:
        found: Findings = receiver.recv()
    except EOFError:
        process.join()
        return Findings(problems=[_died(process.exitcode or 0, before)])
    except BaseException:
        process.kill()
        raise
    finally:
        process.join()
    return found


def _run(check: Check, folder: Path, sender: Connection) -> None:
    """What the process of a check does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    memory.sacrifice_this_process()
    # What Keras leaves in the folder for temporary files when saving fails.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    sender.send(_findings(check, folder))


def _findings(check: Check, folder: Path) -> Findings:
    from cvlab.preflight import Preflight

    try:
        experiment = load_experiment(check.config, check.overrides)
        if check.sample:
            experiment = use_sample_data(experiment, Console(io.StringIO()))
    except CvlabError as error:
        return Findings(problems=[str(error)])
    return Preflight(experiment, check.parent, folder, check.verbose).run()


def _died(exit_code: int, before: Mapping[str, Any]) -> str:
    """Says how the process of a check ended that told nothing."""
    if exit_code >= 0:
        return "The check itself failed; its error stands above."
    name = signal.Signals(-exit_code).name
    if found := memory.evidence(before):
        return f"The trial of a batch was ended by {name}, likely for lack of memory: {', and '.join(found)}."
    refused = exit_code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)
    why = "; TensorFlow ends so where memory is refused to it in the middle of an operation" if refused else ""
    return f"The trial of a batch was ended by {name}{why}."
