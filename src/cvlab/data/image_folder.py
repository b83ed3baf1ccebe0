"""Folders of images, one a class: root/<class>/* to be split, or root/<split>/<class>/* as it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from cvlab.config import DataConfig
from cvlab.config_values import AbsolutePath
from cvlab.data.folders import check_folder, entries, is_image, subfolders
from cvlab.data.image_file import EXTENSIONS
from cvlab.data.sample_sets import draw_samples, known_sample
from cvlab.data.samples import CLASS, new_table
from cvlab.data.source import Labels, LoadedSource, find_groups, is_synthetic
from cvlab.errors import DataError, counted, did_you_mean, listing
from cvlab.text import printable

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LAYOUTS = "root/<class>/* or root/<split>/<class>/*, with the splits train, val (or valid, validation) and test"
NAME = "image_folder"


def _one_or_many(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return value
    raise ValueError("expected a folder or a list of folders")


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("expected every entry once")
    return values


class Config(DataConfig):
    """Settings of `image_folder`.

    Attributes:
        root: One folder or several; several are merged into one pool. Relative to the working directory.
        classes: The class folders to use, in the order of the network's outputs; null: all, sorted.
        sample: The drawn data set that `--sample` uses.
    """

    name: Literal["image_folder"] = "image_folder"
    root: Annotated[
        list[AbsolutePath],
        BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ]
    classes: (
        Annotated[list[str], Field(min_length=2, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)]
        | None
    ) = None
    sample: Annotated[str, known_sample(NAME)] | None = None


def load(config: Config) -> LoadedSource:
    """Lists the images of all roots.

    Raises:
        DataError: A folder is missing or empty, there are fewer than two classes, or the layouts differ.
    """
    notes: list[str] = []
    parts = [part for root in config.root for part in _parts(root, notes)]
    layouts = {split is None for _, _, split in parts}
    if len(layouts) > 1:
        raise DataError(
            "data.root: expected roots of one layout, received some with split folders (train, val, test) and some "
            "without. To merge split folders into one pool, name each of them: root: [DIR/train, DIR/test]."
        )
    class_names = _class_names(config, [folder for _, folder, _ in parts], notes)
    rows = [
        (f"{root.name}/{path.relative_to(root).as_posix()}", path, name, split or "")
        for root, folder, split in parts
        for name in class_names
        if (folder / name).is_dir()
        for path in _images(folder / name, notes)
    ]
    _check_classes(class_names, [(name, split) for _, _, name, split in rows], config)
    ids, paths, labels, splits = ([*column] for column in zip(*rows, strict=True))
    to_merge = ", ".join(dict.fromkeys(f"DIR/{folder.name}" for _, folder, split in parts if split))
    groups, unmatched = find_groups(ids, config.split.group_pattern)
    return LoadedSource(
        table=new_table(ids, paths, groups, {CLASS: labels}, split=splits),
        to_merge=f"merge the folders and split anew: root: [{to_merge}]",
        labels=Labels(class_names=tuple(class_names)),
        origin=", ".join(map(str, config.root)),
        synthetic=any(is_synthetic(root) for root in config.root),
        unmatched_groups=unmatched,
        notes=notes,
    )


def _parts(root: Path, notes: list[str]) -> list[tuple[Path, Path, str | None]]:
    """Returns `(root, folder that holds class folders, split)` for a root of either layout."""
    check_folder("data.root", root, LAYOUTS)
    folders = subfolders(root)
    if not folders:
        raise DataError(f"data.root: {root}: expected one folder a class in it, found none.")
    stray = [name for name, is_folder in entries(root) if not is_folder and is_image(name)]
    if stray:
        first = printable(stray[0])
        notes.append(f"{root}: {counted(len(stray), 'image')} outside the class folders left out (first: {first}).")
    if "train" not in folders or not set(folders) <= set(SPLIT_FOLDERS):
        return [(root, root, None)]
    splits = [SPLIT_FOLDERS[name] for name in folders]
    if len(set(splits)) < len(splits):
        raise DataError(f"data.root: {root}: expected one folder for validation, found {', '.join(folders)}.")
    return [(root, root / name, split) for name, split in zip(folders, splits, strict=True)]


def _class_names(config: Config, folders: Sequence[Path], notes: list[str]) -> list[str]:
    names_in = {folder: subfolders(folder) for folder in folders}
    found = sorted({name for names in names_in.values() for name in names})
    chosen = found if config.classes is None else list(config.classes)
    for name in chosen:
        if name not in found:
            places = ", ".join(map(str, folders))
            raise DataError(f"data.classes: there is no folder '{name}' in {places}{did_you_mean(name, found) or '.'}")
    left_out = [printable(name) for name in found if name not in chosen]
    if left_out:
        notes.append(f"Class folders left out, since `data.classes` does not name them: {', '.join(left_out)}.")
    _check_spellings(chosen)
    for folder, names in names_in.items():
        lacking = [printable(name) for name in chosen if name not in names]
        if lacking:
            notes.append(f"{folder}: has no folder for {', '.join(lacking)}.")
    return chosen


def _check_spellings(names: Sequence[str]) -> None:
    """Refuses two spellings of one class, as merged folders bring them together."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), name)
        if other != name:
            raise DataError(
                f"data.root: the class folders '{printable(other)}' and '{printable(name)}' would be two classes, but "
                "differ only in capitals, spaces or encoding. Give them the same name, or leave one out with "
                "`data.classes`."
            )


def _images(folder: Path, notes: list[str]) -> list[Path]:
    inside = entries(folder)
    images = [folder / name for name, is_folder in inside if not is_folder and is_image(name)]
    folders = [printable(name) for name, is_folder in inside if is_folder]
    others = [printable(name) for name, is_folder in inside if not is_folder and not is_image(name)]
    where = printable(str(folder))
    if not images:
        found = f"only folders ({', '.join(folders[:5])})" if folders else "none"
        raise DataError(
            f"{where}: expected images ({', '.join(sorted(EXTENSIONS))}), found {found}. Expected the layout "
            f"{LAYOUTS}. Add images, remove the folder, or name the classes to use with `data.classes`."
        )
    if folders:
        notes.append(f"{where}: {counted(len(folders), 'folder')} in it left out (first: {folders[0]}).")
    if others:
        notes.append(f"{where}: {counted(len(others), 'file')} left out as no image (first: {others[0]}).")
    return images


def _check_classes(class_names: Sequence[str], found: Sequence[tuple[str, str]], config: Config) -> None:
    if len(class_names) < 2:
        raise DataError(
            f"{config.root[0]}: expected at least 2 class folders, found {len(class_names)}"
            f"{f' ({class_names[0]})' if class_names else ''}. Expected the layout {LAYOUTS}."
        )
    pairs = set(found)
    if {split for _, split in pairs} == {""}:
        return
    lacking = [f"train/{name}" for name in class_names if (name, "train") not in pairs]
    if lacking:
        raise DataError(
            f"{config.root[0]}: every class needs training images; these folders are missing:\n{listing(lacking)}"
        )


def other_data(config: Config, path: Path) -> Config:
    """Returns the settings that read another folder of class folders (`cvlab evaluate --data`)."""
    return config.model_copy(update={"root": [path], "classes": None})


def write_sample(configs: Sequence[Config], directory: Path, *, small: bool) -> list[Config]:
    """Returns settings that use the drawn sample set of each stage; see `sample_sets.draw_samples`."""
    drawn = draw_samples(
        NAME,
        configs,
        directory,
        small=small,
        data_of=lambda config: (*config.root,),
        folder_of=lambda config: config.root[0].name,
    )
    changed = []
    for config, folder, module in drawn:
        split = config.split.model_copy(update={"group_pattern": module.GROUP_PATTERN})
        classes = config.classes if set(config.classes or ()) <= set(module.CLASSES) else None
        changed.append(config.model_copy(update={"root": [folder], "split": split, "classes": classes}))
    return changed
