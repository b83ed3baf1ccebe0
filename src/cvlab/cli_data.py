"""`cvlab data`: sample data, and the audit of data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cvlab.cli_words import check_config_first, unknown_name

data_app = typer.Typer(help="Sample data; the audit of data.", no_args_is_help=True, rich_markup_mode=None)


@data_app.command("sample")
def data_sample(
    name: Annotated[str, typer.Argument(help="The sample set, for example emotion.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to draw it.")],
    image_size: Annotated[int, typer.Option(min=32, max=1024, help="Pixels a side.")] = 128,
) -> None:
    """Draw a sample data set, in the layout of the real one."""
    from cvlab import registry
    from cvlab.sample_data import write_sample_data

    if name not in registry.sample_sets():
        raise typer.BadParameter(unknown_name(name, registry.sample_sets()))
    for folder in write_sample_data(name, directory, image_size=image_size):
        typer.echo(f"Drawn: {folder}")


@data_app.command("audit")
def data_audit(
    words: Annotated[
        list[str], typer.Argument(metavar="CONFIG [KEY=VALUE]", help="The YAML file, then settings to override.")
    ],
) -> None:
    """List what is odd in the data of a configuration; exit code 2 if a training would stop."""
    check_config_first(words, "data audit")
    from cvlab.audit_report import audit_data
    from cvlab.console import Console
    from cvlab.text import printable_lines

    text, usable = audit_data(Path(words[0]), words[1:], Console())
    typer.echo(printable_lines(text))
    if not usable:
        raise typer.Exit(2)
