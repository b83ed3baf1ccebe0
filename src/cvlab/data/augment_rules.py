"""What a configuration may write in an entry of `augment`: names, parameters and values."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import types
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from cvlab.errors import did_you_mean

Transform = Mapping[str, Any]
BORDER_MODES = {"constant": 0, "replicate": 1, "reflect": 2, "wrap": 3, "reflect_101": 4}
INTERPOLATIONS = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3, "lanczos4": 4}
NAMED_NUMBERS = {
    "border_mode": BORDER_MODES,
    "interpolation": INTERPOLATIONS,
    "mask_interpolation": INTERPOLATIONS,
    "interpolation_pair": INTERPOLATIONS,
}
# Masks hold zeros and ones.
FILLS_OF_MASKS = frozenset({"fill_mask", "mask_drop_value"})

REFUSED = {
    "changes the size of the image, which `data.image_size` sets": (
        "CenterCrop Crop LongestMaxSize Pad PadIfNeeded RandomCrop RandomCropFromBorders RandomScale Resize "
        "SmallestMaxSize"
    ),
    "makes numbers of another type; the model scales its own input (`model.preprocessing`)": (
        "FromFloat Normalize ToFloat"
    ),
    "needs bounding boxes": ("AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop RandomCropNearBBox RandomSizedBBoxSafeCrop"),
    "needs masks": "ConstrainedCoarseDropout CropNonEmptyMaskIfExists MaskDropout",
    "needs reference images": "FDA HistogramMatching Mosaic OverlayElements PixelDistributionAdaptation",
    "needs a font and texts": "TextImage",
    "needs Python functions": "Lambda",
    "is for grey images; cvlab's images are RGB": "ToRGB",
    "is a special case of Affine; write Affine": "ShiftScaleRotate",
    "is another name of HorizontalFlip; write HorizontalFlip": "TimeReverse",
    "is a special case of XYMasking; write XYMasking": "FrequencyMasking TimeMasking",
    "is very slow; write ElasticTransform": "PiecewiseAffine",
}
ABSTRACT = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D", "BaseCompose"}


def albumentations() -> Any:
    """Returns the albumentations module, imported on first use and without its look for a newer version."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as module

    return module


def classes() -> dict[str, type]:
    """Returns all concrete transforms and compositions of albumentations by name."""
    library = albumentations()
    kinds = (library.BasicTransform, library.BaseCompose)
    found = {name: value for name, value in vars(library).items() if inspect.isclass(value)}
    return {name: cls for name, cls in found.items() if issubclass(cls, kinds) and name not in ABSTRACT}


def refusal(name: str, cls: type) -> str | None:
    """Returns why cvlab cannot use a transform, or None."""
    library = albumentations()
    if issubclass(cls, library.BaseCompose):
        return "is a composition; list its transforms one by one, each with its own p"
    if issubclass(cls, library.Transform3D):
        return "is for volumes"
    return next((reason for reason, names in REFUSED.items() if name in names.split()), None)


def _parameter_names(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in {"self", "strict"}]


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else json.dumps(value, default=str)


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}"


def numbers_in(value: object) -> list[float]:
    """Returns all numbers in `value`, however deep they stand in lists and mappings."""
    if isinstance(value, Mapping):
        return [number for part in value.values() for number in numbers_in(part)]
    if isinstance(value, list | tuple):
        return [number for part in value for number in numbers_in(part)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _as_argument(value: Any, table: Mapping[str, int] | None = None) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_argument(part, table) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_as_argument(part, table) for part in value)
    return table[value] if table is not None else value


def arguments_of(transform: Transform) -> dict[str, Any]:
    """Returns the parameters of an entry as albumentations wants them: tuples, and numbers for names."""
    given = {key: value for key, value in transform.items() if key != "name"}
    return {key: _as_argument(value, NAMED_NUMBERS.get(key)) for key, value in given.items()}


def written_problems(transform: object) -> list[tuple[str | None, str]]:
    """Finds what is wrong with an entry as it is written, without applying it.

    Returns:
        Pairs of a parameter (None: the entry as a whole) and a message.
    """
    if not isinstance(transform, Mapping):
        received = _shown(transform)
        return [(None, f"expected a mapping such as {{name: HorizontalFlip, p: 0.5}}, received {received}")]
    if (message := _name_problem(transform)) is not None:
        return [("name", message)]
    name = transform["name"]
    cls = classes()[name]
    found = dict(_value_problems(name, cls, transform))
    rest = {key: value for key, value in transform.items() if str(key) not in found}
    # A rule about several parameters (key None) says nothing certain while some of them are left out.
    by_schema = [item for item in _schema_problems(name, cls, rest) if not found or item[0]]
    return [*found.items(), *(item for item in by_schema if item[0] not in found)]


def _name_problem(transform: Transform) -> str | None:
    expected = "expected the name of an albumentations transform"
    if "name" not in transform:
        keys = ", ".join(map(str, transform)) or "nothing"
        return f"{expected}, such as {{name: HorizontalFlip}}, received only {keys}"
    name = transform["name"]
    known = classes()
    if not isinstance(name, str) or name not in known:
        usable = [item for item, cls in known.items() if not refusal(item, cls)]
        hint = did_you_mean(name, usable) or "; `cvlab list augmentations` names them"
        return f"{expected}, received {_shown(name)}{hint}"
    reason = refusal(name, known[name])
    return f"expected a transform that cvlab can use, received {name!r}: it {reason}" if reason else None


def _value_problems(name: str, cls: type, transform: Transform) -> Iterator[tuple[str, str]]:
    valid = _parameter_names(cls)
    for key, value in transform.items():
        if key == "name":
            continue
        if key not in valid:
            hint = did_you_mean(key, valid) or f"; {name} takes {', '.join(valid)}"
            yield str(key), f"expected a parameter of {name}, received {_shown(key)}{hint}"
        elif (found := _value_problem(name, key, value)) is not None:
            expected, hint = found
            yield key, f"expected {expected} for `{key}` of {name}, received {_shown(value)}{hint}"


def _value_problem(name: str, key: str, value: Any) -> tuple[str, str] | None:
    numbers = numbers_in(value)
    if key == "p" and (not isinstance(value, int | float) or not numbers or not 0 <= value <= 1):
        return "a number from 0 to 1", ""
    if not all(map(math.isfinite, numbers)):
        return "finite numbers", ""
    if key in FILLS_OF_MASKS and not {*numbers} <= {0, 1}:
        return "0 (background), 1 (the structure) or null", ""
    if key in NAMED_NUMBERS:
        return _named_number_problem(value, NAMED_NUMBERS[key])
    # albumentations takes these in silence: a misspelt axis is dropped, a missing axis of shear is one
    # degree, and a scale of zero or less empties or mirrors the image.
    if name == "Affine" and isinstance(value, Mapping) and not {*value} <= {"x", "y"}:
        return "a mapping with the keys x and y", ""
    if name == "Affine" and key == "shear" and isinstance(value, Mapping) and len(value) < 2:
        return "both x and y", ""
    if name == "Affine" and key == "scale" and any(number <= 0 for number in numbers):
        return "numbers above 0", ""
    return None


def _named_number_problem(value: Any, table: Mapping[str, int]) -> tuple[str, str] | None:
    words = list(value.values()) if isinstance(value, Mapping) else [value]
    wrong = [word for word in words if not isinstance(word, str) or word not in table]
    if not wrong:
        return None
    meant = next((name for name, number in table.items() if number == wrong[0]), wrong[0])
    return _one_of(list(table)), did_you_mean(meant, table)


def _schema_problems(name: str, cls: Any, transform: Transform) -> Iterator[tuple[str | None, str]]:
    """Checks the values by albumentations' own pydantic schema, strictly: `"10"` and `true` are no numbers."""
    from pydantic import ValidationError

    signature = inspect.signature(cls).parameters.values()
    defaults = {item.name: item.default for item in signature if item.default is not item.empty}
    try:
        # JSON mode, because strict Python mode refuses a list where a tuple is declared.
        text = json.dumps({**defaults, **arguments_of(transform), "strict": False}, default=str)
        with warnings.catch_warnings():
            # What is odd about a value shows again when the transform is tried.
            warnings.simplefilter("ignore", UserWarning)
            cls.InitSchema.model_validate_json(text, strict=True)
    except ValidationError as error:
        for key, group in groupby(error.errors(), key=lambda item: item["loc"][0] if item["loc"] else None):
            errors = list(group)
            if key not in cls.InitSchema.model_fields:  # None, or a key inside of a parameter
                inner = "" if key is None else f"{key}: "
                yield None, f"{name}: {inner}{_plain(errors[0]['msg'])}"
                continue
            value = transform.get(str(key))
            expected = _expected(cls.InitSchema.model_fields[key].annotation, errors)
            received = "nothing" if errors[0]["type"] == "missing" else _shown(value)
            hint = did_you_mean(value, expected.partition("one of ")[2].split(", "))
            yield str(key), f"expected {expected} for `{key}` of {name}, received {received}{hint}"
    # Some of albumentations' validators fail on values of a form that they do not expect.
    except Exception as error:
        shown = _shown({key: value for key, value in transform.items() if key != "name"})
        yield None, f"expected parameters that {name} takes, received {shown} ({type(error).__name__}: {error})"


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").rstrip(".")


def _expected(annotation: Any, errors: Sequence[Any]) -> str:
    if len(errors) > 1 or errors[0]["type"] in {"missing", "literal_error"}:
        return _described(annotation)
    message = _plain(errors[0]["msg"])
    if bound := re.fullmatch(r"Input should be ((?:greater|less) than .*)", message):
        return f"a number {bound[1]}"
    if bound := re.fullmatch(r"All values in .* must be (.*)", message):
        return f"numbers {bound[1]}"
    if message.startswith("First value should be less"):
        return "a range from low to high"
    if "non negative" in message:
        return "numbers of at least 0"
    return message if errors[0]["type"] == "value_error" else _described(annotation)


def _described(annotation: Any) -> str:
    """Puts a type into plain words: `tuple[float, float] | float` is "[number, number] or a number"."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _described(parts[0])
    if origin is typing.Literal:
        return _one_of([str(part) for part in parts])
    if origin in {typing.Union, types.UnionType}:
        words = list(dict.fromkeys(_described(part) for part in parts))
        return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    if origin is tuple and Ellipsis not in parts:
        return f"[{', '.join(_described(part).removeprefix('a ') for part in parts)}]"
    if origin in {tuple, list} or getattr(origin, "__name__", "") == "Sequence":
        return "a list"
    words_of = {float: "a number", int: "a whole number", bool: "true or false", str: "a word", type(None): "null"}
    return "a mapping" if origin is dict else words_of.get(annotation, "another value")
