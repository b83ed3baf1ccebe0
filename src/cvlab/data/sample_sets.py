"""Drawn sample data: which set a configuration may name, and drawing it once into a folder that later runs share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeVar

from pydantic import AfterValidator

from cvlab import registry
from cvlab.errors import DataError, did_you_mean

DRAWN_SIZES = (32, 1024)


def known_sample(source: str) -> AfterValidator:
    """Returns the check that a text names a drawn sample set in the layout of `source`."""

    def check(name: str) -> str:
        table = registry.SYNTHETIC[source]
        if name not in table:
            known = ", ".join(f"'{known}'" for known in table)
            raise ValueError(f"expected one of {known}, received '{name}'{did_you_mean(name, table)}")
        return name

    return AfterValidator(check)


class Sampled(Protocol):
    """Data settings that may name a drawn set."""

    @property
    def sample(self) -> str | None:
        """The name of the sample set."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""


Config = TypeVar("Config", bound=Sampled)


def draw_samples(
    source: str,
    configs: Sequence[Config],
    directory: Path,
    *,
    small: bool,
    data_of: Callable[[Config], Hashable],
    folder_of: Callable[[Config], str],
) -> list[tuple[Config, Path, ModuleType]]:
    """Draws the sample set of each stage below `directory`, once: what is already there is used again.

    Args:
        source: The name of the source that the settings are of.
        configs: The data settings of the stages.
        directory: Where to draw.
        small: Whether to draw few images, for a quick try.
        data_of: The data that a set stands for; each different one becomes a set of other persons.
        folder_of: The name of the folder to draw.

    Returns:
        The settings of each stage, its folder, and the module that drew it.

    Raises:
        DataError: The settings name no sample set.
    """
    known: list[Hashable] = []
    drawn = []
    for config in configs:
        if config.sample is None:
            raise DataError("--sample: expected `data.sample` to name a drawn data set (see `cvlab list`).")
        module = registry.load(registry.SYNTHETIC[source], config.sample)
        if data_of(config) not in known:
            known.append(data_of(config))
        domain = known.index(data_of(config))
        size = min(max(*config.image_size, DRAWN_SIZES[0]), DRAWN_SIZES[1])
        # All that decides the pictures is in the path, so that no other experiment's are taken for these.
        target = directory / f"{config.sample}-{'small' if small else 'full'}-{size}-{domain}" / folder_of(config)
        if not target.exists():
            sizes = module.SMALL if small else module.FULL
            module.write(target, image_size=size, domain=domain, **sizes[min(domain, 1)])
        drawn.append((config, target, module))
    return drawn
