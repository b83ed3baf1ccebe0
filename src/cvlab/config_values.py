"""The kinds of values that settings have: paths, names, shares, counts, and which layers train."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]
Preprocessing = Literal["none", "unit", "tf", "torch", "caffe"]


def _absolute(path: Path) -> Path:
    # Not `path.expanduser()`, which fails for an unknown user.
    return Path(os.path.abspath(os.path.expanduser(path)))


def _pattern(text: str) -> str:
    try:
        return re.compile(text).pattern
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"expected a regular expression, received {text!r} ({error})") from error


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text):
            return text
        raise ValueError(f"expected {expected}")

    return AfterValidator(check)


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
RegularExpression = Annotated[str, AfterValidator(_pattern)]
_NAME = "a file name: at most 100 letters, digits, `_`, `-` and `.`, a letter or digit first"
_NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
FileName = Annotated[str, _matching(_NAME_PATTERN, _NAME), Field(json_schema_extra={"pattern": f"^{_NAME_PATTERN}$"})]
_DEVICE = "'auto', 'cpu', 'gpu', or one of several: 'gpu:1'"
_DEVICE_PATTERN = r"auto|cpu|gpu|gpu:[0-9]+"
Device = Annotated[
    str, _matching(_DEVICE_PATTERN, _DEVICE), Field(json_schema_extra={"pattern": f"^({_DEVICE_PATTERN})$"})
]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
# More of anything would overflow somewhere.
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
MAX_IMAGE_SIDE = 4096
Pixels = Annotated[int, Field(ge=1, le=MAX_IMAGE_SIDE)]
Transform = dict[str, Any]

TRAINABLE_FORMS = (
    "'all', 'head', {first_frozen: N}, {last_layers: N}, {fraction: F} with 0 < F <= 1, or {from_layer: NAME}"
)


def _trainable(value: Any) -> Any:
    """Checks the shape of `trainable`; which layers it means is decided by `models/freezing.py`."""
    if value in ("all", "head"):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((form, amount),) = value.items()
        whole, number = type(amount) is int, type(amount) in (int, float)
        fits = {
            "first_frozen": whole and amount >= 0,
            "last_layers": whole and amount >= 1,
            "fraction": number and 0 < amount <= 1,
            "from_layer": isinstance(amount, str) and amount != "",
        }
        if fits.get(form):
            return value
    raise ValueError(f"expected {TRAINABLE_FORMS}")


_TRAINABLE_SCHEMA = {
    "anyOf": [
        {"enum": ["all", "head"]},
        {
            "type": "object",
            "properties": {
                "first_frozen": {"type": "integer", "minimum": 0},
                "last_layers": {"type": "integer", "minimum": 1},
                "fraction": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "from_layer": {"type": "string", "minLength": 1},
            },
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]
}
Trainable = Annotated[Any, BeforeValidator(_trainable), WithJsonSchema(_TRAINABLE_SCHEMA)]


RULES = ("youden", "f1", "dice")
THRESHOLD_FORMS = (
    "a number above 0 and below 1, 'youden', 'f1', 'dice' (masks), {sensitivity: S} or {specificity: S} with 0 < S <= 1"
)


def _threshold(value: Any) -> Any:
    """Checks the shape of `threshold`; what it comes to is decided by `metrics/operating_point.py`."""
    if value in RULES:
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
        {"enum": [*RULES]},
        *(
            {"type": "object", "properties": {of: _SHARE_SCHEMA}, "required": [of], "additionalProperties": False}
            for of in ("sensitivity", "specificity")
        ),
    ]
}
Threshold = Annotated[Any, BeforeValidator(_threshold), WithJsonSchema(_THRESHOLD_SCHEMA)]


class Settings(BaseModel):
    """A group of settings: strict types, no unknown keys, never changed after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True)
