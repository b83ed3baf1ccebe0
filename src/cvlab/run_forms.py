"""What the JSON files of a run look like. A run folder may be damaged, edited, or come from anybody.

Only what is read later is described, and further keys are free; whatever passes can be read without asking again.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from cvlab.problems import dotted_key, shown

# What stands below these in metrics.json is called as the data call it.
_BY_NAME = ("per_class", "per_target", "by_group")
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _DataStage(_Form):
    stage: str
    counts: dict[str, dict[str, int]]
    images: int
    class_names: list[str] = []
    numbers: list[str] = []
    masks: list[str] = []
    outputs: list[str] = []
    groups: int | None = None
    group_name: str = "group"
    unmatched_groups: int | None = None
    draws: dict[str, dict[str, int]] = {}
    notes: list[str] = []
    warnings: list[str] = []


class _Data(_Form):
    stages: list[_DataStage] = []
    synthetic: bool = False
    allow_leakage: bool = False
    leaks: list[str] = []


class _Memory(_Form):
    peak_bytes: int | None = None
    limit_bytes: int | None = None
    kills: dict[str, int] = {}
    boot: str | None = None


class _Status(_Form):
    status: str
    reason: str | None = None
    stage: str | None = None
    epoch: int = 0
    step: int = 0
    memory: _Memory | None = None


class _Git(_Form):
    commit: str = ""
    dirty: bool | None = None


class _Environment(_Form):
    command: list[str] = []
    versions: dict[str, str] = {}
    git: _Git | None = None


class _ModelStage(_Form):
    stage: str
    trainable: int
    frozen: int


class _Layer(_Form):
    name: str
    type: str
    output_shape: list[int | None] | None = None
    parameters: int = 0


class _Model(_Form):
    layers: list[_Layer] = []
    total: int = 0
    trainable: int = 0
    frozen: int = 0
    weights: str | None = None
    stages: list[_ModelStage] = []


class _Epoch(_Form):
    __pydantic_extra__: dict[str, float | bool | None]
    stage: str
    epoch: int
    features: str | None = None


class _Named(_Form):
    name: str


class _Task(_Named):
    loss: dict[str, Any] | None = None


class _Evaluate(_Form):
    top_k: int = 3


class _ConfigStage(_Named):
    task: _Task | None = None
    data: _Form | None = None
    augment: list[Any] = []


class _Expected(_Form):
    metric: str
    value: Finite
    source: str
    samples: int | None = None


class _Config(_Form):
    name: str = ""
    task: _Task | None = None
    data: _Form | None = None
    model: _Form | None = None
    augment: list[Any] = []
    stages: list[_ConfigStage] = []
    evaluate: _Evaluate | None = None
    expected: list[_Expected] = []

    @model_validator(mode="after")
    def _has_tasks(self) -> _Config:
        if self.task is None and any(stage.task is None for stage in self.stages):
            raise ValueError("task is missing")
        return self


class _Cell(_Form):
    value: Finite | None
    low: Finite | None = None
    high: Finite | None = None
    reason: str | None = None
    no_interval: str | None = None
    method: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> _Cell:
        if (self.low is None) != (self.high is None) or (self.value is None and self.reason is None):
            raise ValueError("expected both ends of each interval, and a reason for each null")
        return self


class _Intervals(_Form):
    confidence: Finite
    method: Literal["bca", "percentile"]
    resamples: int
    unit: str
    units: int
    notes: list[str]


class _Metrics(_Form):
    samples: Finite = 0
    intervals: _Intervals | None = None

    @model_validator(mode="after")
    def _has_cells(self) -> _Metrics:
        waiting: list[tuple[str, Any]] = [("", self.__pydantic_extra__)]
        while waiting:
            name, item = waiting.pop()
            if not isinstance(item, dict):
                continue
            # A class may be called `value`.
            if "value" in item and not (name in _BY_NAME and isinstance(item["value"], dict)):
                _Cell.model_validate(item)
            else:
                waiting += item.items()
        return self


class _HeatMaps(_Form):
    layer: str
    size: Annotated[list[int], Len(2, 2)]
    explains: str


class _OtherData(_Form):
    data: str
    notes: list[str]


# What is told of other data stands beside its predictions, under a name of its own.
_OTHER_DATA = re.compile(r"data-.*\.json", re.DOTALL)
EPOCH, CONFIG = "a line of metrics.jsonl", "config.yaml"
_FORMS: dict[str, TypeAdapter[Any]] = {
    "data.json": TypeAdapter(_Data),
    "status.json": TypeAdapter(_Status),
    "environment.json": TypeAdapter(_Environment),
    "model.json": TypeAdapter(_Model),
    "operating_point.json": TypeAdapter(dict[str, Any]),
    "heat_maps.json": TypeAdapter(_HeatMaps),
    "metrics.json": TypeAdapter(dict[str, _Metrics]),
    EPOCH: TypeAdapter(_Epoch),
    CONFIG: TypeAdapter(_Config),
}
_FORMS_OF_OTHER_DATA: TypeAdapter[Any] = TypeAdapter(_OtherData)
_EXPECTED = {
    "model_type": "keys with values",
    "dict_type": "keys with values",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "float_type": "a number",
    "finite_number": "a finite number",
}


def misfit(name: str, value: Any) -> str:
    """Returns in what a value differs from what cvlab writes into the file `name`; empty if in nothing."""
    form = _FORMS_OF_OTHER_DATA if _OTHER_DATA.fullmatch(name) else _FORMS.get(name)
    if form is None:
        return ""
    try:
        form.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "missing":
            return f"{dotted_key(first['loc'])} is missing"
        at = f"{dotted_key(first['loc'])}: " if first["loc"] else ""
        if first["type"] == "value_error":
            return f"{at}{first['ctx']['error']}"
        return f"{at}expected {_EXPECTED.get(first['type'], 'another value')}, received {shown(first['input'])}"
    return ""
