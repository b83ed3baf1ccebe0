"""The commands. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvlab import __version__

if TYPE_CHECKING:
    from cvlab.experiment import Request

app = typer.Typer(
    name="cvlab",
    help="One YAML file is one computer-vision experiment: train, evaluate, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Sample data; the audit of data.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

Verbose = Annotated[bool, typer.Option("--verbose", help="Show what TensorFlow prints when it starts.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cvlab {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show it.")] = False,
) -> None:
    """One YAML file is one computer-vision experiment: train, evaluate, report."""


@app.command()
def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONFIG [KEY=VALUE]", help="The YAML file, then settings to override."),
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Use small drawn sample data; takes minutes.")] = False,
    resume: Annotated[Path | None, typer.Option(metavar="RUN_DIR", help="Go on with an interrupted run.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where run folders are made, instead of runs/.")] = None,
    verbose: Verbose = False,
) -> None:
    """Train a configuration, then evaluate it and write its report.

    Settings are overridden by dotted key, for example:  stages.0.epochs=8  'augment=[]'  data.root=DIR
    """
    words = words or []
    if resume is not None:
        if run_dir is not None:
            raise typer.BadParameter("--resume goes on in its own run folder; leave out --run-dir")
        _resume(resume, words, sample=sample, verbose=verbose)
        return
    _check_config_first(words, "train")
    from cvlab import experiment

    experiment.train(Path(words[0]), words[1:], _request(verbose), sample=sample, parent=run_dir or Path("runs"))


def _resume(run_dir: Path, words: list[str], *, sample: bool, verbose: bool) -> None:
    if sample or any("=" not in word for word in words):
        raise typer.BadParameter("--resume takes a run folder and, if wanted, more epochs (stages.0.epochs=20)")
    from cvlab import experiment
    from cvlab.run_folder import RunFolder

    experiment.resume(RunFolder.open(run_dir), words, _request(verbose))


@app.command()
def evaluate(
    run_dir: Annotated[Path, typer.Argument(help="The run folder.")],
    split: Annotated[str | None, typer.Option(help="Predict only this split: train, val or test.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Predict other data instead: a folder of class folders, or a CSV table."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Write predictions, metrics and pictures of a run."""
    if split not in (None, "train", "val", "test"):
        raise typer.BadParameter(f"--split: {_unknown(split, ('train', 'val', 'test'))}")
    if split is not None and data is not None:
        raise typer.BadParameter("--split and --data exclude each other: a folder given by --data is predicted whole")
    from cvlab import experiment
    from cvlab.run_folder import RunFolder

    experiment.evaluate(RunFolder.open(run_dir), _request(verbose), split=split, folder=data)


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="The run folder.")]) -> None:
    """Draw the plots of a run and write its report, from files only."""
    from cvlab.report import write_report
    from cvlab.run_folder import RunFolder

    typer.echo(f"Report: {write_report(RunFolder.open(run_dir))}")


@app.command(name="list")
def list_components(
    kind: Annotated[
        str | None, typer.Argument(help="models, data, samples, tasks or augmentations; all if left out.")
    ] = None,
) -> None:
    """List models, data sources, drawn sample sets, tasks and augmentations, a line each."""
    from cvlab import registry

    tables: dict[str, Callable[[], dict[str, str]]] = {
        "models": lambda: registry.describe(registry.MODELS),
        "data": lambda: registry.describe(registry.SOURCES),
        "samples": lambda: registry.describe(registry.sample_sets()),
        "tasks": lambda: registry.describe(registry.TASKS),
        "augmentations": lambda: registry.load(registry.TOOLS, "augment").available(),
    }
    if kind is not None and kind not in tables:
        raise typer.BadParameter(_unknown(kind, tables))
    for name in [kind] if kind else tables:
        lines = tables[name]()
        width = max(map(len, lines))
        typer.echo(f"{name}:")
        for item, text in lines.items():
            typer.echo(f"  {item:<{width}}  {text}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a configuration, for editors."""
    import json

    from cvlab.schema import configuration_schema

    typer.echo(json.dumps(configuration_schema(), indent=2))


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
        raise typer.BadParameter(_unknown(name, registry.sample_sets()))
    for folder in write_sample_data(name, directory, image_size=image_size):
        typer.echo(f"Drawn: {folder}")


@data_app.command("audit")
def data_audit(
    words: Annotated[
        list[str], typer.Argument(metavar="CONFIG [KEY=VALUE]", help="The YAML file, then settings to override.")
    ],
) -> None:
    """List what is odd in the data of a configuration; exit code 2 if a training would stop."""
    _check_config_first(words, "data audit")
    from cvlab.audit_report import audit_data
    from cvlab.console import Console
    from cvlab.text import printable_lines

    text, usable = audit_data(Path(words[0]), words[1:], Console())
    typer.echo(printable_lines(text))
    if not usable:
        raise typer.Exit(2)


def _check_config_first(words: list[str], command: str) -> None:
    if not words or ("=" in words[0] and not Path(words[0]).is_file()):
        raise typer.BadParameter(f"expected a YAML file first, for example: cvlab {command} configs/vgg_emotion.yaml")


def _unknown(received: str, valid: Iterable[str]) -> str:
    from cvlab.errors import did_you_mean

    names = list(valid)
    return f"expected {' or '.join(names)}, received '{received}'{did_you_mean(received, names)}"


def _request(verbose: bool) -> Request:
    from cvlab.console import Console
    from cvlab.experiment import Request

    return Request(Console(), ["cvlab", *sys.argv[1:]], verbose)
