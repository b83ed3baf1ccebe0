"""Drawn chest films of invented patients: COVID-19, no findings or pneumonia, in the layout of the COVID data.

COVID-19 is drawn as several faint patches near the ribs of both lungs, pneumonia as one denser part of a lung. How
bright a film is says nothing of its class.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from cvlab.data.synthetic import chest, film
from cvlab.data.synthetic.thorax import Opacity

CLASSES = ("Covid-19", "No_findings", "Pneumonia")
GROUP_PATTERN = chest.GROUP_PATTERN
FOLDERS = chest.FOLDERS
FULL = ({"identities": 240, "images_per_identity": 3}, {"identities": 100, "images_per_identity": 3})
SMALL = ({"identities": 48, "images_per_identity": 3}, {"identities": 32, "images_per_identity": 3})
MARKER = film.MARKER
# Every second patient is well.
CYCLE = ("No_findings", "Covid-19", "Pneumonia", "No_findings")


def patches(rng: np.random.Generator) -> list[Opacity]:
    """Draws several faint patches, in both lungs and near the ribs."""
    sides = np.resize([-1.0, 1.0], rng.integers(4, 8))
    return [
        Opacity(
            (float(side * rng.uniform(0.62, 0.95)), float(rng.uniform(-0.15, 0.4))),
            rng.uniform(0.1, 0.19),
            rng.uniform(0.35, 0.75),
            1.0,
        )
        for side in sides
    ]


FINDINGS = {"Covid-19": patches, "No_findings": chest.nothing, "Pneumonia": chest.consolidation}
# Draws a set as `directory/<class>/p<patient>_<number>.jpg`.
write = partial(film.write_films, findings=FINDINGS, cycle=CYCLE)
