"""Drawn sample data: which set a configuration may name, and drawing it once into a folder that later runs share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pydantic import AfterValidator

from cvlab import registry
from cvlab.errors import DataError, did_you_mean

DRAWN_SIZES = (32, 1024)


@dataclass(frozen=True)
class SampleRequest:
    """What a stage wants drawn.

    Attributes:
        sample: The name of the sample set; None where the settings name none.
        data: The data that the set stands for; each different one becomes a set of other persons.
        image_size: Height and width in pixels.
        folder: The name of the folder to draw.
    """

    sample: str | None
    data: Hashable
    image_size: tuple[int, int]
    folder: str


def known_sample(source: str) -> AfterValidator:
    """Returns the check that a text names a drawn sample set in the layout of `source`."""

    def check(name: str) -> str:
        table = registry.SYNTHETIC[source]
        if name not in table:
            known = ", ".join(f"'{known}'" for known in table)
            raise ValueError(f"expected one of {known}, received '{name}'{did_you_mean(name, table)}")
        return name

    return AfterValidator(check)


def draw_samples(
    source: str, requests: Sequence[SampleRequest], directory: Path, *, small: bool
) -> list[tuple[Path, ModuleType]]:
    """Draws what is not there yet and returns the folder of each request, and the module that drew it.

    Raises:
        DataError: The settings name no sample set.
    """
    known: list[Hashable] = []
    drawn = []
    for request in requests:
        if request.sample is None:
            raise DataError("--sample: expected `data.sample` to name a drawn data set (see `cvlab list`).")
        module = registry.load(registry.SYNTHETIC[source], request.sample)
        if request.data not in known:
            known.append(request.data)
        domain = known.index(request.data)
        size = min(max(*request.image_size, DRAWN_SIZES[0]), DRAWN_SIZES[1])
        # All that decides the pictures is in the path, so that no other experiment's are taken for these.
        target = directory / f"{request.sample}-{'small' if small else 'full'}-{size}-{domain}" / request.folder
        if not target.exists():
            sizes = module.SMALL if small else module.FULL
            module.write(target, image_size=size, domain=domain, **sizes[min(domain, 1)])
        drawn.append((target, module))
    return drawn
