"""The settings of an experiment. Unknown keys, wrong types and impossible values are errors.

A component (model, data source, task) keeps its own settings: a class `Config` in its module that
extends `ModelConfig`, `DataConfig` or `TaskConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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


class DataConfig(ComponentConfig):
    """Settings that every data source shares."""

    image_size: tuple[Pixels, Pixels] = (128, 128)
    split: SplitConfig = SplitConfig()
    on_unreadable: Literal["error", "skip"] = "error"
    allow_leakage: bool = False
    cache_dir: AbsolutePath | None = None


class ModelConfig(ComponentConfig):
    """Settings that every model shares."""

    smallest_image: ClassVar[int] = 1

    preprocessing: Preprocessing = "unit"
    init_from: AbsolutePath | None = None

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


class EvaluateConfig(Settings):
    """What is computed from the predictions."""

    top_k: Count = 3


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
