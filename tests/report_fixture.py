"""What the tests of all reports share: the records of a finished run, and how its report is read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from PIL import Image

from cvlab.run_folder import RunFolder, write_json, write_text


def write_records(
    run: RunFolder,
    config: Mapping[str, Any],
    stage: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    *,
    model: Mapping[str, Any],
    environment: Mapping[str, Any] | None = None,
    synthetic: bool = False,
    leaks: Sequence[str] = (),
) -> None:
    """Writes what a run leaves besides its predictions, with one picture.

    Args:
        run: The run.
        config: Its settings; `stages` names the stages.
        stage: What `data.json` says of each stage, besides its name.
        history: The lines of `metrics.jsonl`.
        model: What `model.json` says, besides layers.
        environment: What `environment.json` says, besides command and seed.
        synthetic: Whether its data are drawn.
        leaks: What the gate found.
    """
    names = [described["name"] for described in config["stages"]]
    stages = [{"stage": name, "numbers": [], "notes": [], "warnings": [], **stage} for name in names]
    started = {"command": ["cvlab", "train", f"configs/{config['name']}.yaml"], "seed": 42}
    ended = {"stage": names[-1], "epoch": history[-1]["epoch"], "synthetic": synthetic}
    write_text(run.config, yaml.safe_dump(dict(config), sort_keys=False))
    write_json(run.environment, {**started, **(environment or {})})
    write_json(run.data, {"synthetic": synthetic, "stages": stages, "leaks": list(leaks), "allow_leakage": bool(leaks)})
    write_json(run.model, {"layers": [], "stages": [], **model})
    write_text(run.history, "".join(json.dumps(line) + "\n" for line in history))
    write_json(run.status, {"status": "done", "reason": None, **ended})
    run.pictures.mkdir(parents=True)
    Image.new("RGB", (60, 40), "teal").save(run.pictures / "augmented.png")


def rows(report: str, heading: str, *, head: bool = False) -> list[list[str]]:
    """The cells of all tables under a heading, without rules; the first head only if asked for."""
    part = report.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ") and "---" not in line]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return cells if head else cells[1:]


def heavy_modules(run: RunFolder, call: str = "cvlab.report.write_report(run)") -> list[str]:
    """Which heavy modules are imported by a call with `run` at hand, in a process of its own; stderr stays empty."""
    program = (
        "import sys, json, pathlib, cvlab.run_folder, cvlab.report, cvlab.report_record, cvlab.report_segmentation;"
        "run = cvlab.run_folder.RunFolder.open(pathlib.Path(sys.argv[1]));"
        f"{call};"
        "heavy = ('tensorflow', 'keras', 'matplotlib.pyplot', 'pandas');"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run.path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return list(json.loads(done.stdout))
