"""The settings of training: optimizers, schedules, patience, and what `train:` holds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cvlab.config_values import Count, Decay, Device, NotNegative, Positive, Precision, Settings, Share


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
    cache_features: bool = True
    save_every_minutes: Positive | None = None
    save_every_steps: Count | None = None
