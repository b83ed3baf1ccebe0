"""The settings of an experiment. Unknown keys, wrong types and impossible values are errors.

A component (model, data source, task) keeps its own settings: a class `Config` in its module that
extends `ModelConfig`, `DataConfig` or `TaskConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from cvlab.config_values import (
    AbsolutePath,
    Count,
    Decay,
    Device,
    FileName,
    NotNegative,
    Pixels,
    Positive,
    Precision,
    Preprocessing,
    RegularExpression,
    Share,
    Trainable,
    Transform,
)

Sampling = Literal["natural", "oversample", "undersample", "balanced"]
Variant = Literal["identity", "flip", "rot90", "rot180", "rot270"]


class Settings(BaseModel):
    """A group of settings: strict types, no unknown keys, never changed after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True)


class SplitConfig(Settings):
    """How a pool of samples becomes train, validation and test.

    Without fractions, class folders are split 0.8, 0.1, 0.1 and split folders are taken as they are.
    """

    train: Share | None = None
    val: Share | None = None
    test: Share | None = None
    group_pattern: RegularExpression | None = None

    @model_validator(mode="after")
    def _fractions(self) -> SplitConfig:
        given = {"train": self.train, "val": self.val, "test": self.test}
        if self.train is None and self.test is None:
            if self.val is not None and not 0 < self.val < 1:
                raise ValueError("expected `val` above 0 and below 1")
            return self
        total = math.fsum(value or 0.0 for value in given.values())
        if abs(total - 1) > 1e-9:
            shown = ", ".join(f"{name}: {value or 0:.12g}" for name, value in given.items())
            raise ValueError(f"expected fractions that sum to 1, received {{{shown}}}, which sum to {total:.12g}")
        if not self.train or not self.val:
            raise ValueError("expected `train` and `val` above 0, since validation chooses the best weights")
        return self


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
    expand: Annotated[
        list[Variant], Field(json_schema_extra={"uniqueItems": True}), AfterValidator(_with_identity)
    ] = []
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
    """Settings that every model shares."""

    smallest_image: ClassVar[int] = 1

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
    def has_batchnorm(self) -> bool:
        """Whether the network has BatchNorm, whose averages lag behind in the first steps."""
        return False


class TaskConfig(ComponentConfig):
    """Settings that every task shares."""

    # What `monitor` may name after `val_`, and whether higher is better.
    monitors: ClassVar[Mapping[str, bool]] = {"loss": False}


class OptimizerSettings(Settings):
    """What every optimizer can have: weight decay and one kind of gradient clipping."""

    weight_decay: NotNegative | None = None
    clipnorm: Positive | None = None
    global_clipnorm: Positive | None = None
    clipvalue: Positive | None = None

    @model_validator(mode="after")
    def _one_clip(self) -> OptimizerSettings:
        if sum(value is not None for value in (self.clipnorm, self.global_clipnorm, self.clipvalue)) > 1:
            raise ValueError("expected at most one of `clipnorm`, `global_clipnorm` and `clipvalue`")
        return self


class Adam(OptimizerSettings):
    """Adam (Kingma & Ba 2014)."""

    name: Literal["adam"] = "adam"
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class AdamW(OptimizerSettings):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017)."""

    name: Literal["adamw"] = "adamw"
    weight_decay: NotNegative = 0.004
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class SGD(OptimizerSettings):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    momentum: Decay = 0.9
    nesterov: bool = False


class RMSprop(OptimizerSettings):
    """RMSprop (Tieleman & Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    rho: Decay = 0.9
    momentum: Decay = 0.0
    epsilon: Positive = 1e-7


class _Schedule(Settings):
    warmup_epochs: NotNegative = 0.0


class Constant(_Schedule):
    """The learning rate stays as it is."""

    name: Literal["constant"] = "constant"


class Cosine(_Schedule):
    """The learning rate falls along half a cosine to `final` of itself (Loshchilov & Hutter 2016)."""

    name: Literal["cosine"] = "cosine"
    final: Share = 0.0


class Step(_Schedule):
    """The learning rate is multiplied by `factor` after every `every` epochs."""

    name: Literal["step"] = "step"
    every: Count = 10
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


OptimizerConfig = Annotated[Adam | AdamW | SGD | RMSprop, Field(discriminator="name")]
ScheduleConfig = Annotated[Constant | Cosine | Step, Field(discriminator="name")]


class EarlyStopping(Settings):
    """Ends a stage when the monitored value has not improved for `patience` epochs.

    `start_after_steps` protects networks with BatchNorm, whose moving averages lag behind in the first few
    hundred steps: epochs that end before it are not counted. Null: 300 with BatchNorm, else 0.
    """

    patience: Count = 10
    min_delta: NotNegative = 0.0
    start_after_steps: Annotated[int, Field(ge=0)] | None = None


class ReduceLR(Settings):
    """Multiplies the learning rate by `factor` when nothing has improved for `patience` epochs."""

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    patience: Count = 5
    min_delta: NotNegative = 0.0
    min_learning_rate: NotNegative = 0.0
    start_after_steps: Annotated[int, Field(ge=0)] | None = None


class StageTraining(Settings):
    """What `train:` sets for all stages and a stage may set for itself."""

    batch_size: Count = 32
    optimizer: OptimizerConfig = Adam()
    schedule: ScheduleConfig = Constant()
    early_stopping: EarlyStopping | None = None
    reduce_lr: ReduceLR | None = None
    monitor: str = "val_loss"


class TrainConfig(StageTraining):
    """How training runs, whatever is trained."""

    precision: Precision = "auto"
    device: Device = "auto"
    deterministic: bool = True
    save_every_minutes: Positive | None = None


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
    augment: list[Transform] = []

    _one_remedy = field_validator("data")(_balanced_once)


THRESHOLD_FORMS = "a number above 0 and below 1, 'youden', 'f1', {sensitivity: S} or {specificity: S} with 0 < S <= 1"


def _threshold(value: Any) -> Any:
    """Checks the shape of `threshold`; what it comes to is decided by `metrics/operating_point.py`."""
    if value in ("youden", "f1"):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((rule, share),) = value.items()
        if rule in ("sensitivity", "specificity") and type(share) in (int, float) and 0 < share <= 1:
            return value
    elif type(value) is float and 0 < value < 1:
        return value
    raise ValueError(f"expected {THRESHOLD_FORMS}")


_SHARE_SCHEMA = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_THRESHOLD_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"enum": ["youden", "f1"]},
        *(
            {"type": "object", "properties": {of: _SHARE_SCHEMA}, "required": [of], "additionalProperties": False}
            for of in ("sensitivity", "specificity")
        ),
    ]
}
Threshold = Annotated[Any, BeforeValidator(_threshold), WithJsonSchema(_THRESHOLD_SCHEMA)]


class EvaluateConfig(Settings):
    """What is computed from the predictions.

    Attributes:
        top_k: How many of the highest scores may hold the truth.
        positive_class: What the binary table tells from the rest; null: the second of two classes, else no table.
        threshold: From which score on a sample is positive: a number, or a rule that chooses it on validation.
    """

    top_k: Count = 3
    positive_class: str | None = None
    threshold: Threshold = 0.5


class Experiment(Settings):
    """One experiment: one YAML file, resolved."""

    name: FileName
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    task: TaskConfig
    data: DataConfig
    augment: list[Transform] = []
    model: ModelConfig
    train: TrainConfig = TrainConfig()
    stages: Annotated[list[StageConfig], Field(min_length=1)]
    evaluate: EvaluateConfig = EvaluateConfig()

    _one_remedy = field_validator("data")(_balanced_once)
