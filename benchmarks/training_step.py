"""How fast a network trains: `cvlab train` against a bare loop, cvlab's layers against Keras', where a step goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import images, measure

MODULE = "benchmarks.training_step"
SIZE, SMALL = 128, 32
PRECISIONS = ("mixed_bfloat16", "float32")
TABLES = ("loop", "layers", "step", "tried")
CONFIGS = {"vggnet": "vgg", "alexnet": "alexnet", "mobilenet": "mobilenet"}
U_NET = "unet_vgg16"  # in the table `loop` only, on drawn slices with masks
RATIOS = ("ratio", "smallest .. largest", "by processor time")

# A name, what differs from the step as it is, and what differs in the environment.
Variant = tuple[str, dict[str, Any], dict[str, str]]
STEP: list[Variant] = [
    ("Keras' own BatchNorm", {"keras": ["BatchNormalization"]}, {}),
    ("without BatchNorm", {"model_settings": {"batchnorm": False}}, {}),
    ("Keras' own noise", {"keras": ["GaussianDropout"]}, {}),
    ("without noise", {"model_settings": {"noise": 0.0}}, {}),
    ("SGD instead of Adam", {"optimizer": "sgd"}, {}),
    ("the other precision", {"precision": "other"}, {}),
]
TRIED: list[Variant] = [
    ("XLA (jit_compile=True)", {"jit_compile": True}, {}),
    ("8 steps per execution", {"steps_per_execution": 8}, {}),
    ("determinism off", {"deterministic": False}, {}),
    ("oneDNN off", {}, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    ("1 thread between operations", {"inter_op": 1}, {}),
    ("1 thread within operations", {"intra_op": 1}, {}),
    ("4 threads within operations", {"intra_op": 4}, {}),
    ("ReLU after pooling", {"relu_after_pooling": True}, {}),
    ("noise from a quantile table", {"noise": "quantile table"}, {}),
    ("noise by the inverse error function", {"noise": "inverse error function"}, {}),
    ("Keras' noise, drawn in float32", {"noise": "single precision"}, {}),
]


KINDS = {
    "BatchNorm": ["BatchNormalization"],
    "noise": ["GaussianDropout"],
    "both": ["BatchNormalization", "GaussianDropout"],
}


class Finished(Exception):
    """Ends a training that was only to be measured."""


def loop(settings: dict[str, Any]) -> dict[str, list[float]]:
    """Trains as `cvlab train` does; after every epoch but the first, times the bare loop on the same model.

    The bare loop is `train_on_batch` on one batch in memory, for as many steps as an epoch has: the same network,
    compiled once, so that precision, optimizer, metrics and batch size are the same. The first step of an epoch, which
    starts the input, is no steady state and is left out.
    """
    from cvlab import experiment, training
    from cvlab.console import Console

    found: dict[str, list[float]] = {"bare": [], "cvlab": []}

    class Alternating(training.StageTrainer):
        def run_stage(self) -> None:
            shown, said = self.progress.step, self.progress.finished
            ends: list[float] = []

            def step(done: int, values: Mapping[str, float]) -> None:
                shown(done, values)
                ends.append(time.perf_counter())

            def finished(record: Mapping[str, Any]) -> None:
                said(record)
                self.turn(record["epoch"], ends[-1] - ends[0])
                ends.clear()

            with mock.patch.multiple(self.progress, step=step, finished=finished):
                super().run_stage()
            raise Finished

        def turn(self, epoch: int, seconds: float) -> None:
            """Times the bare loop; `seconds` passed between the ends of the first and the last step of the epoch."""
            model, batches = self.parts.model, self.parts.training
            one = batches.load(0, 0)
            if epoch == 1:  # compiles
                model.train_on_batch(*one)
                return
            found["cvlab"].append((len(batches.rows) - len(one[0])) / seconds)
            began = time.perf_counter()
            for _ in range(batches.per_epoch):
                model.train_on_batch(*one)
            found["bare"].append(batches.per_epoch * len(one[0]) / (time.perf_counter() - began))

    request = experiment.Request(Console(), ["benchmark"])
    with mock.patch.object(training, "StageTrainer", Alternating):
        try:
            config, overrides = Path(settings["config"]), settings["overrides"]
            experiment.train(config, overrides, request, sample=False, parent=Path(settings["runs"]))
        except Finished:
            return found
    raise AssertionError("the training did not go through StageTrainer")


def loop_settings(network: str, folder: Path, scratch: Path, *, epochs: int, batch_size: int, smoke: bool) -> Any:
    overrides = [f"data.root={folder}", "data.split={train: 0.8, val: 0.1, test: 0.1, group_pattern: '(.+)_\\d+$'}"]
    overrides += [f"train.batch_size={batch_size}", f"stages.0.epochs={epochs}"]
    overrides += ["data.image_size=[32, 32]", "model.width=0.25"] if smoke else []
    config = measure.ROOT / "configs" / f"{CONFIGS[network]}_emotion.yaml"
    return {"what": "loop", "config": str(config), "overrides": overrides, "runs": str(scratch / "runs")}


def u_net_settings(scratch: Path, *, epochs: int, batch_size: int, smoke: bool) -> Any:
    """The loop of a U-Net on drawn slices with masks, read as TIFF and decoded before the first epoch."""
    from cvlab.data.synthetic import brain

    size = SMALL if smoke else SIZE
    brain.write(scratch / "kaggle_3m", identities=12 if smoke else 32, images_per_identity=8, image_size=2 * size)
    overrides = [f"data.root={scratch / 'kaggle_3m'}", f"data.image_size=[{size}, {size}]", "model.weights=none"]
    overrides += [f"train.batch_size={batch_size}", f"stages.0.epochs={epochs}"]
    overrides += ["model.decoder_filters=[8, 8, 8, 8]"] if smoke else []
    config = measure.ROOT / "configs" / f"{U_NET}_lgg.yaml"
    return {"what": "loop", "config": str(config), "overrides": overrides, "runs": str(scratch / "runs")}


def step(settings: dict[str, Any]) -> Callable[[], float]:
    """Returns what measures the images a second of a training step on one batch in memory."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(settings.get("inter_op", 0))
    tf.config.threading.set_intra_op_parallelism_threads(settings.get("intra_op", 0))
    keras.utils.set_random_seed(0)
    if settings.get("deterministic", True):
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(settings["precision"])
    model = network(settings)
    model.compile(
        settings.get("optimizer", "adam"),
        "categorical_crossentropy",
        jit_compile=settings.get("jit_compile", False),
        steps_per_execution=settings.get("steps_per_execution", 1),
    )
    steps, size, pixels = settings["steps"], settings["batch_size"], settings["image_size"]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (size, pixels, pixels, 3), dtype=np.uint8)
    y = np.eye(8, dtype=np.float32)[rng.integers(0, 8, size)]
    dataset = tf.data.Dataset.from_tensors((x, y)).repeat(steps)

    def rate() -> float:
        began = time.perf_counter()
        model.fit(dataset, verbose=0, shuffle=False)
        return float(steps * size / (time.perf_counter() - began))

    return rate


def network(settings: dict[str, Any]) -> Any:
    """The network that `settings` ask for, with some layers put back to what Keras does, or to what was tried."""
    import keras

    from benchmarks import tried
    from cvlab import registry
    from cvlab.config import DataConfig, StageConfig, TaskConfig
    from cvlab.models import vggnet
    from cvlab.models.layer_call import replace_call
    from cvlab.models.network import build_network

    config = registry.load(registry.MODELS, settings["network"]).Config(**settings.get("model_settings", {}))
    output = keras.layers.Dense(8, activation="softmax", dtype="float32")
    backbone = tried.relu_after_pooling if settings.get("relu_after_pooling") else vggnet.backbone
    with mock.patch.object(vggnet, "backbone", backbone):
        net = build_network(config, image_size=(settings["image_size"],) * 2, output=output)
    for layer in [*net.backbone.layers, *net.head]:
        if type(layer).__name__ in settings.get("keras", ()):
            vars(layer).pop("call", None)
        elif type(layer) is keras.layers.GaussianDropout and "noise" in settings:
            replace_call(layer, tried.NOISE[settings["noise"]])
    task, data = TaskConfig(name="none"), DataConfig(name="none")
    return net.connect(StageConfig(name="all", epochs=1, learning_rate=1e-3, task=task, data=data))


def serve(settings: dict[str, Any]) -> None:
    if settings["what"] == "loop":
        measure.answer(loop(settings))
    else:
        measure.serve(step(settings))


def compare_steps(base: dict[str, Any], variants: list[Variant], repeats: int) -> Iterator[list[str]]:
    """A row for each variant, against the step as it is."""
    other = {"mixed_bfloat16": "float32", "float32": "mixed_bfloat16"}[base["precision"]]
    changed = []
    for _, changes, _ in variants:
        model_settings = {**base["model_settings"], **changes.get("model_settings", {})}
        precision = other if "precision" in changes else base["precision"]
        changed.append({**base, **changes, "model_settings": model_settings, "precision": precision})
    environments = [environment for _, _, environment in variants]
    found = measure.compare(MODULE, base, changed, repeats=repeats, environments=environments)
    for (name, _, _), comparison in zip(variants, found, strict=True):
        yield [name, *comparison.cells()]


def layer_rows(
    base: dict[str, Any], networks: list[str], precisions: Sequence[str], repeats: int
) -> Iterator[list[str]]:
    """A row for each network, precision and layer: as Keras computes it, against cvlab."""
    for name in networks:
        for precision in precisions:
            now = base | {"network": name, "precision": precision}
            kinds = KINDS if name != "mobilenet" else {"BatchNorm": KINDS["BatchNorm"]}
            changed = [now | {"keras": classes} for classes in kinds.values()]
            found = measure.compare(MODULE, now, changed, repeats=repeats)
            for part, comparison in zip(kinds, found, strict=True):
                yield [f"{name}, {precision}: {part}", *comparison.turned().cells()]


def main() -> None:
    parser = measure.parser(__doc__)
    images.add_argument(parser)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", default="mixed_bfloat16", choices=PRECISIONS)
    parser.add_argument("--networks", nargs="+", default=["vggnet"], choices=(*CONFIGS, U_NET))
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side)
        return
    if U_NET in arguments.networks and arguments.tables != ["loop"]:
        parser.error(f"{U_NET} is measured with `--tables loop` only")
    measure.show(f"{measure.machine()}\nBatches of {arguments.batch_size}.\n")
    for name in arguments.tables:
        measure.show(TABLE[name](arguments) + "\n")


def loop_table(arguments: Any) -> str:
    with measure.scratch() as scratch:
        folder = images.image_folder(arguments.data, scratch, identities=10 if arguments.smoke else 80)
        rows = []
        common = {"epochs": arguments.repeats + 1, "batch_size": arguments.batch_size, "smoke": arguments.smoke}
        for name in arguments.networks:
            settings = (
                u_net_settings(scratch, **common) if name == U_NET else loop_settings(name, folder, scratch, **common)
            )
            found = measure.once(MODULE, settings)
            rows.append([name, *measure.Comparison(found["bare"], found["cvlab"]).cells()])
    return measure.table(("images a second", "bare loop", "cvlab train", "ratio", "smallest .. largest"), rows)


def base_settings(arguments: Any) -> dict[str, Any]:
    return {
        "what": "step",
        "network": arguments.networks[0],
        "precision": arguments.precision,
        "batch_size": arguments.batch_size,
        "steps": 2 if arguments.smoke else 8,
        "image_size": SMALL if arguments.smoke else SIZE,
        "model_settings": {"width": 0.25} if arguments.smoke else {},
    }


def layers_table(arguments: Any) -> str:
    precisions = PRECISIONS[: 1 if arguments.smoke else None]
    rows = list(layer_rows(base_settings(arguments), arguments.networks, precisions, arguments.repeats))
    return measure.table(("images a second", "Keras' layer", "cvlab's", *RATIOS), rows)


def step_table(arguments: Any, variants: list[Variant] = STEP) -> str:
    base = base_settings(arguments)
    rows = list(compare_steps(base, variants[: 1 if arguments.smoke else None], arguments.repeats))
    head = f"{base['network']}, {base['precision']}"
    return measure.table((head, "as it is", "so", *RATIOS), rows)


TABLE: dict[str, Callable[[Any], str]] = {
    "loop": loop_table,
    "layers": layers_table,
    "step": step_table,
    "tried": lambda arguments: step_table(arguments, TRIED),
}


if __name__ == "__main__":
    main()
