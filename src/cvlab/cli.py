"""The commands. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvlab import __version__
from cvlab.cli_data import data_app
from cvlab.cli_words import check_config_first, unknown_name

if TYPE_CHECKING:
    from cvlab.experiment import Request
    from cvlab.repetitions import Kind

app = typer.Typer(
    name="cvlab",
    help="One YAML file is one computer-vision experiment: train, evaluate, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
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
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="Train N times on one split: seed, seed + 1, ...")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(metavar="K", min=2, help="Cross-validation: train K times, each fold the test split once."),
    ] = None,
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
        if seeds is not None or folds is not None:
            raise typer.BadParameter("--resume finds seeds and folds in the folder; leave out --seeds and --folds")
        _resume(resume, words, sample=sample, verbose=verbose)
        return
    check_config_first(words, "train")
    config, overrides, parent = Path(words[0]), words[1:], run_dir or Path("runs")
    if seeds is not None and folds is not None:
        raise typer.BadParameter("--seeds and --folds exclude each other: cross-validation trains with one seed")
    if seeds is None and folds is None:
        from cvlab import experiment

        experiment.train(config, overrides, _request(verbose), sample=sample, parent=parent)
        return
    from cvlab.repeat import train_repeated

    kind: Kind = "folds" if seeds is None else "seeds"
    count = seeds or folds or 0
    train_repeated(config, overrides, _request(verbose), kind=kind, count=count, sample=sample, parent=parent)


def _resume(run_dir: Path, words: list[str], *, sample: bool, verbose: bool) -> None:
    if sample or any("=" not in word for word in words):
        raise typer.BadParameter("--resume takes a run folder and, if wanted, more epochs (stages.0.epochs=20)")
    from cvlab.repetitions import Parent
    from cvlab.run_folder import RunFolder

    parent = Parent.open(run_dir)
    if parent is None:
        run = RunFolder.open(run_dir)
        from cvlab import experiment

        experiment.resume(run, words, _request(verbose))
        return
    if words:
        raise typer.BadParameter(f"{words[0]}: seeds and folds go on with the settings that they share; leave it out")
    from cvlab.repeat import resume_repeated

    resume_repeated(parent, _request(verbose))


@app.command()
def check(
    words: Annotated[
        list[str],
        typer.Argument(metavar="CONFIG ... [KEY=VALUE ...]", help="YAML files, then settings to override in all."),
    ],
    sample: Annotated[bool, typer.Option("--sample", help="Check them on small drawn sample data.")] = False,
    run_dir: Annotated[Path, typer.Option(help="Where a training would make its run folder.")] = Path("runs"),
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what TensorFlow prints, and where unexpected errors come from.")
    ] = False,
) -> None:
    """List everything that would stop a training, in seconds.

    Exit code 2 if anything would. Reads configuration and tables whole and some of the files, compares disk and memory
    with what a training needs, and takes one real batch through train, save, resume, reload and predict. Leaves nothing
    behind.
    """
    check_config_first(words, "check")
    from cvlab.check import Check, check_all
    from cvlab.console import Console

    configs = [Path(word) for word in words if "=" not in word or Path(word).is_file()]
    overrides = tuple(word for word in words if Path(word) not in configs)
    checks = [Check(config, overrides, sample, run_dir, verbose) for config in configs]
    if not check_all(checks, Console()):
        raise typer.Exit(2)


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
        raise typer.BadParameter(f"--split: {unknown_name(split, ('train', 'val', 'test'))}")
    if split is not None and data is not None:
        raise typer.BadParameter("--split and --data exclude each other: a folder given by --data is predicted whole")
    if data is not None and not data.exists():
        raise typer.BadParameter(f"--data: {data}: there is no such folder or table; check the path")
    from cvlab.repetitions import Parent
    from cvlab.run_folder import RunFolder

    parent = Parent.open(run_dir)
    if parent is None:
        run = RunFolder.open(run_dir)
        from cvlab import experiment

        experiment.evaluate(run, _request(verbose), split=split, folder=data)
        return
    from cvlab.repeat import evaluate_repeated

    evaluate_repeated(parent, _request(verbose), split=split, folder=data)


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="The run folder.")]) -> None:
    """Draw the plots of a run and write its report, from files only."""
    from cvlab.repetitions import Parent
    from cvlab.run_folder import RunFolder

    parent = Parent.open(run_dir)
    if parent is None:
        folder = RunFolder.open(run_dir)
        from cvlab.killed import is_in_use, told_if_killed
        from cvlab.report import write_report

        if not is_in_use(folder) and (told := told_if_killed(folder)):
            typer.echo(f"WARNING: {told}")
        write_report(folder)
    else:
        folder = parent.folder
        from cvlab.report_repetitions import write_all_reports

        write_all_reports(parent)
    typer.echo(f"Report: {folder.report_page} (as Markdown: {folder.report.name})")


@app.command()
def compare(
    run_dirs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_DIR ...", help="Run folders, or folders that hold some, such as runs/."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write there, not into comparisons/<time>/.")] = None,
    split: Annotated[
        str, typer.Option(help="Whose predictions: test, val, or data that evaluate --data added.")
    ] = "test",
    by: Annotated[str | None, typer.Option(metavar="METRIC", help="Rank by this metric, such as macro_f1.")] = None,
    intersect: Annotated[bool, typer.Option("--intersect", help="Compare on the samples that all runs share.")] = False,
) -> None:
    """Compare runs: leaderboard, paired tests, curves, what differs in their configurations."""
    from cvlab import compare
    from cvlab.console import Console

    compare.compare(compare.Request(run_dirs, out, split, by, intersect), Console())


@app.command(hidden=True)
def part(
    what: Annotated[str, typer.Argument(help="train or evaluate.")],
    parent_dir: Annotated[Path, typer.Argument(help="The folder of the repetition.")],
    name: Annotated[str, typer.Argument(help="The part, for example fold-1.")],
    split: Annotated[str | None, typer.Option()] = None,
    data: Annotated[Path | None, typer.Option()] = None,
    verbose: Verbose = False,
) -> None:
    """Do the work of one seed or fold. `cvlab train` and `cvlab evaluate` start this in a process of its own."""
    from cvlab.errors import Interrupted
    from cvlab.repeat import evaluate_part, train_part
    from cvlab.repetitions import Parent

    parent = Parent.open(parent_dir)
    if parent is None or name not in parent.repetitions.parts or what not in ("train", "evaluate"):
        raise typer.BadParameter(f"{what} {parent_dir} {name}: there is no such part")
    try:
        if what == "train":
            train_part(parent, name, _request(verbose))
        else:
            evaluate_part(parent, name, _request(verbose), split=split, folder=data)
    except Interrupted as stop:
        # The process that started this one says how to go on with the whole.
        raise typer.Exit(stop.exit_code) from stop


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
        raise typer.BadParameter(unknown_name(kind, tables))
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


def _request(verbose: bool) -> Request:
    from cvlab.console import Console
    from cvlab.experiment import Request

    return Request(Console(), ["cvlab", *sys.argv[1:]], verbose)
