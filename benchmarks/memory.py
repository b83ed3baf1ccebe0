"""That memory does not grow with the slices: images and masks, prepared and read for an epoch with augmentation."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.cache_building import peak_memory, resident

MODULE = "benchmarks.memory"
SIZE, SLICES_A_PATIENT = 128, 20
CONFIG = measure.ROOT / "configs" / "unet_vgg16_lgg.yaml"


def draw(folder: Path, patients: int, side: int) -> Path:
    """Draws patients with 20 slices and masks each, as TIFF of `side` x `side` pixels."""
    from cvlab.data.synthetic import brain

    brain.write(folder, identities=patients, images_per_identity=SLICES_A_PATIENT, image_size=side)
    return folder


def grow(drawn: Path, target: Path, slices: int) -> Path:
    """A folder of so many different slices: those of `drawn`, each file with a number behind its end."""
    patients = sorted(path for path in drawn.iterdir() if path.is_dir())
    for number in range(-(-slices // SLICES_A_PATIENT)):
        source, patient = patients[number % len(patients)], target / f"P{number:05d}"
        patient.mkdir(parents=True)
        left = slices - number * SLICES_A_PATIENT
        for mask in islice(sorted(source.glob("*_mask.tif")), left):
            for path in (mask, mask.with_name(mask.name.replace("_mask", ""))):
                name = path.name.replace(source.name, patient.name)
                (patient / name).write_bytes(path.read_bytes() + number.to_bytes(8, "big"))
    return target


def serve(settings: dict[str, Any]) -> None:
    """Prepares the slices of a folder as a training does, then reads an epoch of them with augmentation."""
    import tensorflow as tf

    from cvlab.config_file import load_experiment
    from cvlab.console import Console
    from cvlab.data.augment import Augmenter
    from cvlab.data.pipeline import Batches
    from cvlab.data.prepare import load_sources, prepare

    side, root = settings["side"], settings["folder"]
    overrides = [f"data.root={root}", f"data.image_size=[{side}, {side}]", "model.weights=none"]
    experiment = load_experiment(CONFIG, [*overrides, "data.split={train: 0.9, val: 0.1}"])
    tf.zeros(1)  # what TensorFlow takes at its first operation belongs to no epoch
    preparing: dict[str, float] = {}
    with peak_memory(preparing):
        samples = prepare(experiment, load_sources(experiment), Console()).stages[0].samples.of_split("train")
    stage = experiment.stages[0]
    batches = Batches(
        samples.images,
        samples.rows,
        stage.batch_size,
        seed=(experiment.seed, 0),
        masks=samples.masks,
        mask_rows=samples.mask_rows,
        augmenter=Augmenter(stage.augment),
        shuffled=True,
    )
    epoch: dict[str, float] = {}
    before = resident()[0]
    with peak_memory(epoch):
        read = sum(len(images) for images, _ in batches.dataset())
    measure.answer({"read": read, "preparing": preparing, "epoch": epoch, "peak": before + epoch["anonymous"]})


def rows_of(found: list[dict[str, Any]]) -> list[list[str]]:
    """A row a measurement, a column a number of slices."""
    rows = [
        (f"{what}: {kind}", [one[key][kind] for one in found])
        for key, what in (("preparing", "decoding, split and gate"), ("epoch", "an epoch, augmented"))
        for kind in ("anonymous", "mapped")
    ]
    rows.append(("the whole process at the peak of the epoch: anonymous", [one["peak"] for one in found]))
    return [[name, *(f"{value:,.0f} MB" for value in values)] for name, values in rows]


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--slices", type=int, nargs="+", default=[400, 4_000], help="how many, each measured apart")
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side)
        return
    side, counts = (32, [40]) if arguments.smoke else (SIZE, arguments.slices)
    found = []
    with measure.scratch() as scratch:
        drawn = draw(scratch / "drawn", 2 if arguments.smoke else 20, side)
        measure.show(f"{measure.machine()}\nDrawn slices and masks, TIFF of {side}x{side}; batches of 20.\n")
        for count in counts:
            folder = grow(drawn, scratch / "kaggle_3m", count)
            found.append(measure.once(MODULE, {"folder": str(folder), "side": side}))
            shutil.rmtree(folder)
            shutil.rmtree(scratch / "cache")
    head = ["memory", *(f"{count:,} slices ({one['read']:,} read)" for count, one in zip(counts, found, strict=True))]
    measure.show(measure.table(head, rows_of(found)))


if __name__ == "__main__":
    main()
