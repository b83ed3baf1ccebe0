"""What the commands say of words that they cannot use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer


def check_config_first(words: list[str], command: str) -> None:
    """Raises typer.BadParameter where a command does not begin with a configuration."""
    if not words or ("=" in words[0] and not Path(words[0]).is_file()):
        raise typer.BadParameter(f"expected a YAML file first, for example: cvlab {command} configs/vgg_emotion.yaml")


def unknown_name(received: str, valid: Iterable[str]) -> str:
    """Returns what is wrong with a name that is none of the valid ones, and which was meant."""
    from cvlab.errors import did_you_mean

    names = list(valid)
    return f"expected {' or '.join(names)}, received '{received}'{did_you_mean(received, names)}"
