"""The COVID CNN of Reshi et al. 2021: its counts, its depth, its layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvlab.config_file import load_experiment
from tests.config_fixture import changed, problems_of
from tests.test_models import network, stage

CONFIG = Path(__file__).parents[1] / "configs" / "covid_cnn.yaml"
FILTERS = (64, 64, 128, 128, 256, 256)
MODEL, SIZE = "model: {name: vggnet, dropout: 0.5}", "image_size: [64, 64]"


@pytest.mark.tensorflow
def test_the_parameters_are_those_of_the_paper() -> None:
    import keras

    from cvlab.models.network import build_network, parameter_counts

    experiment = load_experiment(CONFIG)
    net = build_network(experiment.model, image_size=(150, 150), output=keras.layers.Dense(1, activation="sigmoid"))
    assert parameter_counts(net.connect(experiment.stages[0])) == (1_808_449, 1_805_121)
    assert net.head[0](net.backbone.output).shape == (None, 1024)
    kinds = [type(layer).__name__ for layer in net.backbone.layers]
    assert kinds == ["InputLayer", *["Conv2D", "MaxPooling2D", "BatchNormalization", "ReLU", "Dropout"] * 6]
    kinds = [type(layer).__name__ for layer in net.head]
    assert kinds == ["Flatten", *["Dense", "BatchNormalization", "Activation"] * 2, "Dense"]


@pytest.mark.tensorflow
@pytest.mark.parametrize("depth", range(1, 7))
def test_the_depth_is_the_number_of_convolutions(depth: int) -> None:
    from cvlab.models.network import parameter_counts

    filters = FILTERS[:depth]
    side = 64 // 2**depth
    counts, inputs = 0, 3
    for outputs in filters:
        counts += 9 * inputs * outputs + outputs + 4 * outputs
        inputs = outputs
    for inputs, outputs in ((side * side * filters[-1], 16), (16, 8)):
        counts += inputs * outputs + outputs + 4 * outputs
    head = [{"units": 16, "batchnorm": True}, {"units": 8, "batchnorm": True}]
    net = network("covid_cnn", size=64, outputs=1, depth=depth, head=head)
    assert parameter_counts(net.connect(stage()))[0] == counts + 8 + 1


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ("depth: 7", 64, "12: model.depth: expected at most 6, received 7."),
        ("depth: 0", 64, "12: model.depth: expected at least 1, received 0."),
        ("depth: 4", 15, "7: data.image_size: expected at least 16 pixels a side for covid_cnn of depth 4, received "
         "[15, 15]."),
        ("dropout: 0.1", 63, "7: data.image_size: expected at least 64 pixels a side for covid_cnn of depth 6, "
         "received [63, 63]."),
        ("head: {units: 3}", 64, "12: model.head: expected a list, received {units: 3}."),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings: str, size: int, message: str, tmp_path: Path) -> None:
    text = changed((MODEL, f"model: {{name: covid_cnn, {settings}}}"), (SIZE, f"image_size: [{size}, {size}]"))
    assert f"c.yaml:{message}" in problems_of(tmp_path / "c.yaml", text)


def test_an_image_of_the_smallest_size_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for depth in range(1, 7):
        model = f"model: {{name: covid_cnn, depth: {depth}}}"
        path.write_text(changed((MODEL, model), (SIZE, f"image_size: [{2**depth}, {2**depth}]")), encoding="utf-8")
        assert load_experiment(path).model.name == "covid_cnn"
