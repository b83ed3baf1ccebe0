"""Which module a name stands for. Nothing is imported until it is named; a new component is one line.

The first of a table is the one that messages give as an example.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

MODELS = {
    "alexnet": "cvlab.models.alexnet",
    "covid_cnn": "cvlab.models.covid_cnn",
    "mobilenet": "cvlab.models.mobilenet",
    "pretrained": "cvlab.models.pretrained",
    "unet": "cvlab.models.unet",
    "unet_vgg16": "cvlab.models.unet_vgg16",
    "vggnet": "cvlab.models.vggnet",
}
SOURCES = {
    "image_folder": "cvlab.data.image_folder",
    "csv_table": "cvlab.data.csv_table",
    "image_mask_folder": "cvlab.data.image_mask_folder",
    "lgg_mri": "cvlab.data.lgg_mri",
}
TASKS = {
    "classification": "cvlab.tasks.classification",
    "regression": "cvlab.tasks.regression",
    "segmentation": "cvlab.tasks.segmentation",
}
# Drawn sample data, each in the layout of one source.
SYNTHETIC = {
    "csv_table": {"affect": "cvlab.data.synthetic.affect"},
    "image_folder": {
        "emotion": "cvlab.data.synthetic.emotion",
        "chest": "cvlab.data.synthetic.chest",
        "covid": "cvlab.data.synthetic.covid",
    },
    "image_mask_folder": {"brain": "cvlab.data.synthetic.brain"},
    "lgg_mri": {"brain": "cvlab.data.synthetic.brain"},
}
TOOLS = {
    "augment": "cvlab.data.augment",
}


def sample_sets() -> dict[str, str]:
    """Returns the drawn sample sets of all sources."""
    return {name: module for sets in SYNTHETIC.values() for name, module in sets.items()}


def load(table: dict[str, str], name: str) -> ModuleType:
    """Imports the module that `name` stands for in `table`."""
    return import_module(table[name])


def describe(table: dict[str, str]) -> dict[str, str]:
    """Returns each name of `table` with the first line of its module's docstring."""
    return {name: (load(table, name).__doc__ or "").strip().split("\n")[0] for name in sorted(table)}
