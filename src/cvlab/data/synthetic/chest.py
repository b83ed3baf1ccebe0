"""Drawn chest films of invented patients, normal or with pneumonia, in the layout of the pneumonia data.

Pneumonia is drawn as one cloudy part of a lung, sometimes two. How bright a film is says nothing of its class.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from cvlab.data.synthetic import film
from cvlab.data.synthetic.thorax import Opacity

CLASSES = ("NORMAL", "PNEUMONIA")
GROUP_PATTERN = r"(.+)_\d+$"
FOLDERS = ("films", "other_films")
FULL = ({"identities": 200, "images_per_identity": 3}, {"identities": 100, "images_per_identity": 3})
SMALL = ({"identities": 45, "images_per_identity": 3}, {"identities": 30, "images_per_identity": 3})
MARKER = film.MARKER
# Two thirds of the patients are ill, as in the sets that are used in earnest.
CYCLE = ("PNEUMONIA", "NORMAL", "PNEUMONIA")


def nothing(rng: np.random.Generator) -> list[Opacity]:
    """Draws what a normal film shows."""
    return []


def consolidation(rng: np.random.Generator) -> list[Opacity]:
    """Draws one or two cloudy parts, mostly in one lung."""
    side = rng.choice([-1.0, 1.0])
    found = []
    for _ in range(2 if rng.random() < 0.3 else 1):
        place = (float(side * rng.uniform(0.4, 0.8)), float(rng.uniform(-0.3, 0.35)))
        found.append(Opacity(place, rng.uniform(0.18, 0.36), rng.uniform(0.45, 0.95), rng.uniform(0.4, 0.9)))
        side = side if rng.random() < 0.7 else -side
    return found


FINDINGS = {"NORMAL": nothing, "PNEUMONIA": consolidation}
# Draws a set as `directory/<class>/p<patient>_<number>.jpg`.
write = partial(film.write_films, findings=FINDINGS, cycle=CYCLE)
