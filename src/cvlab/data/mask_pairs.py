"""Images and their masks, found by name: what belongs together, and what lacks its counterpart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from cvlab.config import DataConfig
from cvlab.errors import DataError, counted, listing
from cvlab.text import printable

MASK_SUFFIX = "_mask"


def _structure(name: str) -> str:
    if not name.strip() or name != name.strip() or not name.isprintable():
        raise ValueError("expected the name of what masks show, such as tumour")
    return name


Structure = Annotated[str, AfterValidator(_structure)]


@dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        name: The path of the image below the folder of images, with `/`.
        image: Where it is.
        mask: Where its mask is.
    """

    name: str
    image: Path
    mask: Path


def split_by_suffix(names: Iterable[str], suffix: str) -> tuple[list[str], list[str]]:
    """Returns the names of images, and of masks: those whose stem ends with `suffix`."""
    found: tuple[list[str], list[str]] = ([], [])
    for name in names:
        found[PurePosixPath(name).stem.endswith(suffix)].append(name)
    return found


def match(
    images: Sequence[str], masks: Sequence[str], *, image_root: Path, mask_root: Path, suffix: str
) -> tuple[list[Pair], list[str]]:
    """Finds the mask of each image.

    Args:
        images: Paths of images below `image_root`.
        masks: Paths of masks below `mask_root`; each is the path of an image with `suffix` added to the stem, and with
            any ending.
        image_root: The folder of the images.
        mask_root: The folder of the masks.
        suffix: What stands between the stem of an image and the ending of its mask; empty for nothing.

    Returns:
        The pairs, and a line for each file that is in none.
    """
    image_of = _by_key(images, lambda name: name)
    mask_of = _by_key(masks, lambda name: name.removesuffix(suffix))
    problems = _doubles(image_of, image_root, "images") + _doubles(mask_of, mask_root, "masks")
    for key in image_of.keys() - mask_of.keys():
        wanted = printable(PurePosixPath(key).name + suffix)
        where = "beside it" if image_root == mask_root else f"in {printable(str((mask_root / key).parent))}"
        problems += [
            f"{printable(str(image_root / name))}: has no mask; expected {wanted}.* {where}" for name in image_of[key]
        ]
    for key in mask_of.keys() - image_of.keys():
        problems += [f"{printable(str(mask_root / name))}: is a mask without an image" for name in mask_of[key]]
    pairs = [
        Pair(names[0], image_root / names[0], mask_root / mask_of[key][0])
        for key, names in image_of.items()
        if len(names) == 1 and len(mask_of.get(key, ())) == 1
    ]
    return sorted(pairs, key=lambda pair: pair.name), sorted(problems)


def _by_key(names: Sequence[str], plain: Callable[[str], str]) -> dict[str, list[str]]:
    """Returns names by their path without the ending, as `plain` makes it that of the image."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[plain(PurePosixPath(name).with_suffix("").as_posix())].append(name)
    return dict(found)


def _doubles(names_of: Mapping[str, Sequence[str]], root: Path, what: str) -> list[str]:
    found = [[printable(str(root / name)) for name in names] for names in names_of.values() if len(names) > 1]
    return [f"{' and '.join(paths)}: are {len(paths)} {what} of one name; expected one" for paths in found]


def check_pairs(
    pairs: Sequence[Pair], problems: Sequence[str], config: DataConfig, notes: list[str], *, origin: str
) -> None:
    """Every image must have a mask and every mask an image, unless such files are to be left out.

    Raises:
        DataError: They have not, or no pair is left.
    """
    if not problems and pairs:
        return
    found = counted(len(problems), "image or mask without its counterpart", "images and masks without counterparts")
    if not problems:
        raise DataError(f"{origin}: expected images with their masks, found none.")
    if config.on_unreadable == "error" or not pairs:
        advice = "" if not pairs else ", or leave them out with `data.on_unreadable=skip`"
        raise DataError(
            f"{origin}: {found}, {counted(len(pairs), 'pair')} found:\n{listing(problems)}\n"
            f"Add what is missing, or remove what is too much{advice}."
        )
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    notes.append(f"{found} left out (data.on_unreadable: skip): {'; '.join(problems[:5])}{more}.")
