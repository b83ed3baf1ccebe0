"""`cvlab data audit`: what it prints, its exit code, and that it needs no TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image

from cvlab.audit_report import audit_data
from cvlab.console import Console
from tests.picture_fixture import half, picture, save
from tests.pool_fixture import split_folders, write

CONFIG = """
name: audit
task: {name: classification}
data: {name: image_folder, root: DATA, image_size: [64, 64]}
model: {name: vggnet}
stages: [{name: only, epochs: 1, learning_rate: 1e-3}]
"""
TABLE = """
task: {name: regression}
data: {name: csv_table, table: DATA, image_size: [64, 64], columns: {image: file, numbers: [age]}}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes: colour PNG files and grey JPEG files, with all that an audit looks for."""
    root = tmp_path / "films"
    for number in range(24):
        save(picture(number, 64), root / "ill" / f"p{number // 2:02d}_{number}.png")
        save(picture(100 + number, 80).convert("L"), root / "well" / f"q{number // 2:02d}_{number}.jpg")
    save(half(picture(3, 64)), root / "well" / "copy.jpg", quality=70)
    (root / "ill" / "twin.png").write_bytes((root / "ill" / "p02_5.png").read_bytes())
    save(picture(200, 64), root / "ill" / "wrong.jpg", format="PNG")
    save(Image.new("L", (1, 1)), root / "ill" / "dot.png")
    return root


def report(folder: Path, root: Path, *words: str, config: str = CONFIG) -> tuple[str, bool]:
    (folder / "audit.yaml").write_text(config.replace("DATA", str(root)))
    return audit_data(folder / "audit.yaml", words, Console(StringIO()))


def section(text: str, title: str) -> list[str]:
    (found,) = [part for part in text.split("\n\n") if part.startswith(title)]
    return found.splitlines()


def test_everything_is_listed(tmp_path: Path, data: Path) -> None:
    text, usable = report(tmp_path, data)
    assert usable
    assert section(text, "Stage 'only'") == [f"Stage 'only': {data}", "52 images in 52 groups"]
    counts = section(text, "Images by split and class")
    assert [line.split() for line in (counts[1], counts[-1])] == [["ill", "well", "total"], ["total", "27", "25", "52"]]
    kinds = [line.split() for line in section(text, "Images by format and by pixel mode")]
    for row in (["JPEG", "0", "25", "25"], ["PNG", "27", "0", "27"], ["L", "1", "24", "25"], ["RGB", "26", "1", "27"]):
        assert row in kinds
    sizes = section(text, "Sizes")
    assert sizes[1] == "  width x height  4 different, most often 64 x 64 (26), 80 x 80 (24), 1 x 1 (1)"
    assert sizes[2] == "  smallest image  1 x 1: films/ill/dot.png"
    assert sizes[3].startswith("  largest image   80 x 80: films/well/q")
    assert section(text, "Files that cannot be read") == ["Files that cannot be read: none"]
    assert section(text, "Files of another format")[1:] == [f"  {data}/ill/wrong.jpg is PNG"]
    assert section(text, "Images that are enlarged")[1:] == [f"  {data}/ill/dot.png: 1 x 1"]
    assert section(text, "Images nearly of one colour")[1:] == ["  films/ill/dot.png"]
    assert section(text, "Identical pictures")[1:] == ["  films/ill/p02_5.png = films/ill/twin.png"]
    title, pair = section(text, "Near-duplicates")
    assert title == "Near-duplicates, pairs that differ in at most 16 of 255 bits: 1"
    assert pair.startswith("  films/ill/p01_3.png ~ films/well/copy.jpg, ")
    (torn,) = section(text, "One picture under several labels")[1:]
    assert torn.endswith("(ill / well)")
    assert section(text, "Names (without their numbers)")[-1].endswith(r"data.split.group_pattern='(.+?)[_ .-]+\d+$'")
    clues = section(text, "How well names")
    assert clues[1].split() == ["ill", "well"]
    assert "  format tells ill, AUC 1.00 ('JPEG' in 0% of it, in 100% of the rest)" in clues
    assert text.endswith("cross splits or stages: none\n\nNothing here stops a training.")


def test_what_would_stop_a_training_is_said_at_the_end(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=12, val=2, test=3)
    write(root / "test/a/copy.png", 0)
    (root / "train/b/empty.png").touch()
    text, usable = report(tmp_path, root)
    assert not usable
    assert section(text, "Files that cannot be read")[1:] == [f"  {root}/train/b/empty.png: is empty"]
    (leak,) = section(text, "Groups, ids and pictures")[1:]
    assert leak.startswith("  identical file stands in train of stage 'only' and in test of stage 'only': set/train/a/")
    stops = section(text, "A training would stop:")
    assert stops[1] == "  1 image of 36 cannot be used:"
    assert stops[3].startswith("  The gate stops this run: 1 leak")
    assert report(tmp_path, root, "data.on_unreadable=skip", "data.allow_leakage=true")[1]


def test_a_class_that_validation_lacks(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=12, val=2, test=3)
    for path in (root / "val" / "b").iterdir():
        path.unlink()
    (root / "val" / "b").rmdir()
    text, usable = report(tmp_path, root)
    assert usable
    assert section(text, "Images by split and class")[3].split() == ["val", "2", "0", "2"]
    assert section(text, "Other warnings")[1:] == [
        "  Split 'val' has no image of b; their metrics are undefined there."
    ]


def test_near_duplicates_that_are_not_looked_for(tmp_path: Path, data: Path) -> None:
    text, _ = report(tmp_path, data, "data.near_duplicate_distance=null")
    assert "Near-duplicates: not looked for" in text
    assert "near-duplicate" not in text


def test_a_table_of_numbers(tmp_path: Path) -> None:
    rows = []
    for number in range(30):
        save(picture(number, 64), tmp_path / "faces" / f"{number}.png")
        rows.append(f"{number}.png,{20 + number}")
    save(picture(4, 64), tmp_path / "faces" / "copy.jpg", quality=80)
    (tmp_path / "faces" / "same.png").write_bytes((tmp_path / "faces" / "7.png").read_bytes())
    (tmp_path / "faces" / "ages.csv").write_text("\n".join(["file,age", *rows, "copy.jpg,24", "same.png,99"]))
    config = CONFIG.replace("task: {name: classification}\n", TABLE).replace(
        "data: {name: image_folder, root: DATA, image_size: [64, 64]}\n", ""
    )
    text, usable = report(tmp_path, tmp_path / "faces" / "ages.csv", config=config)
    assert usable
    assert section(text, "Images by split")[-1].split() == ["total", "32"]
    assert text.count(" ~ ") == 1
    assert section(text, "One picture under several labels")[1:] == ["  faces/7.png = faces/same.png (27.0 / 99.0)"]
    assert section(text, "How well names")[0].endswith("there are no classes")


@pytest.mark.slow
def test_the_command_ends_with_its_exit_code_and_without_tensorflow(tmp_path: Path, data: Path) -> None:
    (tmp_path / "audit.yaml").write_text(CONFIG.replace("DATA", str(data)))
    script = (
        "import sys\n"
        "from cvlab.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(sorted({'tensorflow', 'keras'} & sys.modules.keys()))\n"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, "data", "audit", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run("audit.yaml")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.rstrip().endswith("Nothing here stops a training.\n[]")
    (data / "ill" / "text.png").write_text("no image")
    bad = run("audit.yaml")
    assert (bad.returncode, bad.stderr) == (2, "")
    assert "A training would stop:" in bad.stdout
    skipped = run("audit.yaml", "data.on_unreadable=skip")
    assert skipped.returncode == 0
    for words, message in (
        (["data.root=x"], "expected a YAML file first, for example: cvlab data audit"),
        (["audit.yaml", "data.near_duplicate_distance=300"], "data.near_duplicate_distance: expected"),
        (["audit.yaml", "data.root=nowhere"], "there is no such folder"),
    ):
        refused = run(*words)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
