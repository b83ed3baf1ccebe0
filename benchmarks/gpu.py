"""On a GPU: `cvlab train` on VGGNet and MobileNet against the bare loop, in float32 and in mixed precision.

Runs with whatever backend KERAS_BACKEND names. Without a GPU it says so and ends well.
"""

from __future__ import annotations

from typing import Any

from benchmarks import images, measure, training_step

MODULE = "benchmarks.gpu"
NETWORKS = ("vggnet", "mobilenet")


def gpus() -> list[str]:
    """The GPUs that the Keras backend sees."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        return [tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in devices]
    return []


def serve(settings: dict[str, Any]) -> None:
    measure.answer(gpus() if settings["what"] == "gpus" else training_step.loop(settings))


def main() -> None:
    parser = measure.parser(__doc__)
    images.add_argument(parser)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--precisions", nargs="+", default=["float32", "auto"])
    parser.add_argument("--anyway", action="store_true", help="measure without a GPU too")
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side)
        return
    found = measure.once(MODULE, {"what": "gpus"})
    measure.show(measure.machine())
    measure.show(f"GPU: {', '.join(found)}" if found else "no GPU here")
    if not found and not arguments.anyway:
        return
    with measure.scratch() as scratch:
        folder = images.image_folder(arguments.data, scratch, identities=10 if arguments.smoke else 400)
        measure.show(f"{images.describe(folder)}; batches of {arguments.batch_size}.\n")
        rows = [
            [f"{network}, {precision}", *row_of(network, precision, folder, scratch, arguments)]
            for network in NETWORKS
            for precision in arguments.precisions
        ]
    measure.show(measure.table(("images a second", "bare loop", "cvlab train", "ratio", "smallest .. largest"), rows))


def row_of(network: str, precision: str, folder: Any, scratch: Any, arguments: Any) -> list[str]:
    settings = training_step.loop_settings(
        network,
        folder,
        scratch,
        epochs=arguments.repeats + 1,
        batch_size=arguments.batch_size,
        smoke=arguments.smoke,
    )
    settings["overrides"].append(f"train.precision={precision}")
    rates = measure.once(MODULE, settings)
    return measure.Comparison(rates["bare"], rates["cvlab"]).cells()


if __name__ == "__main__":
    main()
