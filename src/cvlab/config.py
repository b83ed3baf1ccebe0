"""The settings of an experiment. Unknown keys, wrong types and impossible values are errors.

A component (model, data source, task) keeps its own settings: a class `Config` in its module that
extends `ModelConfig`, `DataConfig` or `TaskConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from cvlab.config_evaluate import Bootstrap
from cvlab.config_expected import ExpectedFigure
from cvlab.config_split import SplitConfig
from cvlab.config_training import StageTraining, TrainConfig
from cvlab.config_values import (
    AbsolutePath,
    Count,
    FileName,
    Pixels,
    Positive,
    Preprocessing,
    Seed,
    Settings,
    Threshold,
    Trainable,
    Transform,
)

Sampling = Literal["natural", "oversample", "undersample", "balanced"]
Variant = Literal["identity", "flip", "rot90", "rot180", "rot270"]


class ComponentConfig(Settings):
    """Settings of a component that is chosen by its name."""

    name: str


def _with_identity(variants: list[Variant]) -> list[Variant]:
    if len(set(variants)) < len(variants):
        raise ValueError("expected each variant once")
    if variants and "identity" not in variants:
        raise ValueError("expected 'identity' among them: without it no image would be trained on as it is")
    return variants


class DataConfig(ComponentConfig):
    """Settings that every data source shares.

    Attributes:
        sampling: What an epoch draws of each class of the training split.
        expand: What each training image becomes, a sample an entry; empty for the image as it is.
        near_duplicate_distance: In how many of 255 bits the perceptual hashes of two images may differ for them to be
            the same picture; null: near-duplicates are not looked for.
    """

    image_size: tuple[Pixels, Pixels] = (128, 128)
    split: SplitConfig = SplitConfig()
    sampling: Sampling = "natural"
    expand: Annotated[list[Variant], Field(json_schema_extra={"uniqueItems": True}), AfterValidator(_with_identity)] = (
        Field(default=[])
    )
    on_unreadable: Literal["error", "skip"] = "error"
    near_duplicate_distance: Annotated[int, Field(ge=0, le=64)] | None = 16
    allow_leakage: bool = False
    cache_dir: AbsolutePath | None = None

    @field_validator("expand")
    @classmethod
    def _square(cls, variants: list[Variant], info: ValidationInfo) -> list[Variant]:
        size = info.data.get("image_size")
        if size and size[0] != size[1] and {"rot90", "rot270"} & {*variants}:
            raise ValueError(
                f"expected a square `image_size` with rot90 and rot270, received {[*size]}: height and width would "
                "change places. Make it square, or leave these two out"
            )
        return variants


class ModelConfig(ComponentConfig):
    """Settings that every model shares.

    Attributes:
        smallest_image: The smallest side of an image in pixels.
        size_multiple: What both sides of an image must be divisible by.
        tasks: The names of the tasks that the model can be trained for.
    """

    smallest_image: ClassVar[int] = 1
    size_multiple: ClassVar[int] = 1
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")

    preprocessing: Preprocessing = "unit"
    init_from: AbsolutePath | None = None

    @classmethod
    def smallest_side(cls, settings: Mapping[str, Any]) -> tuple[int, str]:
        """Returns the smallest side of an image in pixels, and which network asks for it.

        Args:
            settings: The settings of the model as written, which may be wrong.
        """
        return cls.smallest_image, "this model"

    @property
    def title(self) -> str:
        """What the network is called."""
        return self.name

    @property
    def has_batchnorm(self) -> bool:
        """Whether the network has BatchNorm, whose averages lag behind in the first steps."""
        return False


class TaskConfig(ComponentConfig):
    """Settings that every task shares."""

    # What `monitor` may name after `val_`, and whether higher is better.
    monitors: ClassVar[Mapping[str, bool]] = {"loss": False}
    # Which metrics are printed at the end; empty for those of `monitors`.
    headline: ClassVar[tuple[str, ...]] = ()


AnyData = TypeVar("AnyData")


def _balanced_once(data: AnyData, info: ValidationInfo) -> AnyData:
    """Refuses two remedies for imbalance that each make the classes equal; weights given as numbers are not judged."""
    sampling = getattr(data, "sampling", "natural")
    if sampling != "natural" and getattr(info.data.get("task"), "class_weights", None) == "balanced":
        raise ValueError(
            f"received `sampling: {sampling}` with `class_weights: balanced`, which would balance the classes twice. "
            "Keep one: data.sampling=natural, or task.class_weights=null"
        )
    return data


class StageConfig(StageTraining):
    """One stage of training. What it does not set, it takes from the top of the configuration."""

    name: FileName
    epochs: Count
    learning_rate: Positive
    trainable: Trainable = "all"
    batchnorm_mode: Literal["train", "inference"] = "train"
    task: TaskConfig
    data: DataConfig
    augment: list[Transform] = Field(default=[])

    _one_remedy = field_validator("data")(_balanced_once)


def _injected_layers(value: Any) -> Any:
    """Checks the shape of `layers`; which layers the names mean is decided by `uncertainty.py`."""
    names = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    if value in ("head", "all") or (names and 0 < len(value) == len({*value})):
        return value
    raise ValueError("expected 'head', 'all' or a list of names of layers, each once")


def _injected_rate(value: Any) -> Any:
    if value == "auto" or (type(value) is float and 0 < value < 1):
        return value
    raise ValueError("expected 'auto' or a number above 0 and below 1")


_INJECTED_LAYERS_SCHEMA = {
    "anyOf": [
        {"enum": ["head", "all"]},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "uniqueItems": True},
    ]
}
_INJECTED_RATE_SCHEMA = {
    "anyOf": [{"enum": ["auto"]}, {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}]
}


class DropoutInjection(Settings):
    """Uncertainty from dropout that is put into the trained network (Ledda, Fumera & Roli 2023).

    Attributes:
        layers: In front of which layers: `head` (dense and convolution layers of the head, the output too), `all`
            (every dense and convolution layer), or names of layers.
        samples: How many passes there are, each with other units dropped.
        rate: The share of units that a pass drops; `auto` chooses it on validation.
    """

    layers: Annotated[Any, BeforeValidator(_injected_layers), WithJsonSchema(_INJECTED_LAYERS_SCHEMA)] = "head"
    samples: Annotated[int, Field(ge=2)] = 30
    rate: Annotated[Any, BeforeValidator(_injected_rate), WithJsonSchema(_INJECTED_RATE_SCHEMA)] = "auto"


class EvaluateConfig(Settings):
    """What is computed from the predictions.

    Attributes:
        top_k: How many of the highest scores may hold the truth.
        positive_class: What the binary table tells from the rest; null: the second of two classes, else no table.
        threshold: From which score on a sample is positive: a number, or a rule that chooses it on validation.
        temperature: Whether a temperature that calibrates the scores is fitted on validation.
        dropout_injection: How the uncertainty of each prediction is found; null: it is not.
        bootstrap: How the intervals of the metrics are computed.
    """

    top_k: Count = 3
    positive_class: str | None = None
    threshold: Threshold = 0.5
    temperature: bool = False
    dropout_injection: DropoutInjection | None = None
    bootstrap: Bootstrap = Bootstrap()


class Experiment(Settings):
    """One experiment: one YAML file, resolved.

    Attributes:
        expected: Published figures, which the report sets beside the run's own.
    """

    name: FileName
    seed: Seed = 42
    task: TaskConfig
    data: DataConfig
    augment: list[Transform] = Field(default=[])
    model: ModelConfig
    train: TrainConfig = TrainConfig()
    stages: Annotated[list[StageConfig], Field(min_length=1)]
    evaluate: EvaluateConfig = EvaluateConfig()
    expected: list[ExpectedFigure] = Field(default=[])

    _one_remedy = field_validator("data")(_balanced_once)
