"""Who a drawn face is, and what its muscles do.

The movements are action units of the Facial Action Coding System (Ekman and Friesen 1978). What belongs to a
person (skin, head, hair, eyes, ...) is drawn at random, each trait independent of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cvlab.data.synthetic.drawing import Colour, mix

SKINS: tuple[Colour, ...] = (
    (247, 224, 206), (240, 206, 180), (226, 184, 150), (205, 158, 120), (176, 128, 92),
    (146, 100, 70), (122, 82, 58), (100, 66, 48), (80, 53, 40),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (24, 20, 20), (52, 36, 28), (92, 60, 38), (146, 100, 56), (206, 170, 110), (150, 66, 34), (150, 148, 146),
)  # fmt: skip
IRISES: tuple[Colour, ...] = ((58, 36, 24), (96, 64, 34), (104, 112, 60), (70, 110, 150), (110, 124, 130))
CUTS = ("bald", "short", "curly", "fringe", "bob", "long")


class Expression(NamedTuple):
    """Movements of a face, 0 at rest and about 1 at full strength; the action units (AU) in brackets."""

    inner_brow: float  # up (1), negative: down (4)
    outer_brow: float  # up (2), negative: down (4)
    pinch: float  # brows drawn together (4)
    lids: float  # upper lid up (5), negative: eye narrowed (7, 43)
    cheeks: float  # cheeks and lower lids up (6)
    nose: float  # wrinkled (9)
    upper_lip: float  # raised (10)
    corners: float  # up (12), negative: down (15)
    smirk: float  # one corner up and back (12 and 14 on one side)
    stretch: float  # mouth wider (20), negative: rounded (18)
    press: float  # lips thin (23, 24)
    chin: float  # lower lip pushed up (17)
    jaw: float  # open (25 to 27)


@dataclass(frozen=True)
class Person:
    """What stays the same in all pictures of one person; lengths in half heads."""

    skin: Colour
    hair: Colour
    iris: Colour
    cut: str
    width: float
    jaw: float
    chin: float
    hairline: float
    eye_x: float
    eye_size: float
    brow_y: float
    brow_width: float
    nose_width: float
    nose_y: float
    mouth_width: float
    lips: float
    lip_red: float
    glasses: bool
    beard: bool
    rest: Expression

    @classmethod
    def random(cls, rng: np.random.Generator) -> Person:
        """Draws a person."""
        tone = rng.uniform(0, len(SKINS) - 1.001)
        skin = mix(SKINS[int(tone)], SKINS[int(tone) + 1], tone % 1)
        hair = mix(HAIRS[rng.integers(len(HAIRS))], HAIRS[rng.integers(len(HAIRS))], rng.uniform(0, 0.4))
        return cls(
            skin=skin,
            hair=hair,
            iris=IRISES[rng.integers(len(IRISES))],
            cut=CUTS[rng.integers(len(CUTS))],
            width=rng.uniform(0.68, 0.82),
            jaw=rng.uniform(0.55, 1.0),
            chin=rng.uniform(0.94, 1.06),
            hairline=rng.uniform(-0.68, -0.58),
            eye_x=rng.uniform(0.27, 0.34),
            eye_size=rng.uniform(0.145, 0.18),
            brow_y=rng.uniform(-0.36, -0.32),
            brow_width=rng.uniform(0.035, 0.085),
            nose_width=rng.uniform(0.1, 0.17),
            nose_y=rng.uniform(0.2, 0.27),
            mouth_width=rng.uniform(0.25, 0.32),
            lips=rng.uniform(0.035, 0.075),
            lip_red=rng.uniform(0.25, 0.6),
            glasses=bool(rng.random() < 0.2),
            beard=bool(rng.random() < 0.2),
            rest=Expression(*rng.normal(0, 0.06, size=len(Expression._fields))),
        )

    def shade(self, depth: float) -> Colour:
        """Returns the colour of a fold in the skin, `depth` 0 (none) to 1."""
        red, green, blue = self.skin
        return mix(self.skin, (red * 0.3, green * 0.2, blue * 0.2), depth)

    @property
    def beard_colour(self) -> Colour:
        """The colour of beard and moustache, through which some skin shows."""
        return mix(self.hair, self.skin, 0.2)
