"""Drawn faces of invented persons with eight expressions, in the layout of the emotion data.

Each expression combines the action units of the Facial Action Coding System (Ekman and Friesen 1978) that are
commonly assigned to the emotion, in two forms and at random strength.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cvlab.data.synthetic.drawing import Camera, Canvas, Colour, check_whole_number, new_folder
from cvlab.data.synthetic.face import draw_face
from cvlab.data.synthetic.person import Expression, Person

CLASSES = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
GROUP_PATTERN = r"(.+)_\d+$"
FOLDERS = ("train", "tune")
FULL = ({"identities": 80, "images_per_identity": 16}, {"identities": 40, "images_per_identity": 16})
SMALL = ({"identities": 50, "images_per_identity": 16}, {"identities": 25, "images_per_identity": 16})
PERSONS_PER_DOMAIN = 1000
MARKER = (
    "# Synthetic sample data\n\n"
    "These faces were drawn by cvlab so that experiments can be tried without a download. They show no real "
    "persons. Results on them say whether a program works, and nothing about how well a network reads the "
    "expressions of people: draw no conclusions from them.\n"
)

# Two forms of each expression, in the order of the movements above; a picture shows a mixture of the two.
FORMS = {
    # inner  outer  pinch  lids  cheeks nose upper corners smirk stretch press chin  jaw
    "anger": (
        (-1.0,  0.1,  1.0, -0.2,  0.0,  0.0,  0.0, -0.25,  0.0, -0.1,  1.0,  0.0,  0.0),
        (-1.0,  0.3,  1.0,  0.3,  0.0,  0.0,  0.2,  0.0,   0.0,  0.3,  0.0,  0.0,  0.35)),
    "contempt": (
        (0.0,   0.0,  0.0, -0.2,  0.0,  0.0,  0.0,  0.0,   1.0,  0.0,  0.2,  0.0,  0.0),
        (0.0,   0.2,  0.0,  0.0,  0.0,  0.0,  0.0,  0.0,   1.1,  0.1,  0.4,  0.2,  0.0)),
    "disgust": (
        (-0.6, -0.4,  0.4, -0.5,  0.6,  1.0,  0.8, -0.4,   0.0,  0.0,  0.0,  0.5,  0.0),
        (-0.5, -0.4,  0.3, -0.5,  0.7,  1.0,  1.1, -0.3,   0.0,  0.0,  0.0,  0.0,  0.25)),
    "fear": (
        (1.0,   0.4,  0.8,  0.9,  0.0,  0.0,  0.0, -0.4,   0.0,  0.8,  0.0,  0.0,  0.2),
        (0.9,   0.5,  0.7,  1.0,  0.0,  0.0,  0.0, -0.3,   0.0,  0.9,  0.0,  0.0,  0.45)),
    "happy": (
        (0.0,   0.0,  0.0, -0.15, 0.9,  0.0,  0.0,  1.0,   0.0,  0.6,  0.0,  0.0,  0.0),
        (0.0,   0.0,  0.0, -0.15, 1.0,  0.0,  0.2,  1.0,   0.0,  0.7,  0.0,  0.0,  0.5)),
    "neutral": (
        (0.0,   0.0,  0.0,  0.0,  0.0,  0.0,  0.0,  0.0,   0.0,  0.0,  0.0,  0.0,  0.0),
        (0.0,   0.0,  0.0, -0.1,  0.0,  0.0,  0.0,  0.0,   0.0,  0.0,  0.0,  0.0,  0.0)),
    "sad": (
        (0.9,  -0.4,  0.5, -0.45, 0.0,  0.0,  0.0, -0.9,   0.0,  0.0,  0.0,  0.6,  0.0),
        (0.7,  -0.3,  0.4, -0.6,  0.0,  0.0,  0.0, -0.7,   0.0, -0.1,  0.0,  0.2,  0.0)),
    "surprise": (
        (1.0,   1.0,  0.0,  0.8,  0.0,  0.0,  0.0, -0.2,   0.0, -0.7,  0.0,  0.0,  1.0),
        (0.9,   1.0,  0.0,  0.7,  0.0,  0.0,  0.0, -0.2,   0.0, -0.5,  0.0,  0.0,  0.6)),
}  # fmt: skip


class Domain(NamedTuple):
    """Where pictures come from: the camera, the backgrounds, and how strongly people show what they feel."""

    camera: Camera
    background: tuple[float, float]
    intensity: tuple[float, float]
    strength: tuple[float, float]


FIRST = Domain(
    Camera(brightness=(0.8, 1.12), slope=0.25, colour=(0.8, 1.1), blur=(0.0, 0.8), noise=(2, 9), quality=(70, 95)),
    background=(60, 235),
    intensity=(2.2, 1.4),
    strength=(0.35, 1.15),
)
OTHER = Domain(
    Camera(
        brightness=(0.75, 1.05),
        slope=0.3,
        colour=(0.1, 0.5),
        blur=(0.2, 1.1),
        noise=(5, 13),
        quality=(50, 85),
    ),
    background=(15, 110),
    intensity=(1.6, 1.8),
    strength=(0.3, 1.15),
)


def random_strength(domain: Domain, rng: np.random.Generator) -> float:
    """Draws how strongly an expression is shown, about 1 at full strength; some are weak."""
    low, high = domain.strength
    return low + (high - low) * float(rng.beta(*domain.intensity))


def random_expression(name: str, person: Person, strength: float, rng: np.random.Generator) -> Expression:
    """Draws in which form a person shows the expression `name` at `strength`."""
    first, second = (np.array(form) for form in FORMS[name])
    form = first + (second - first) * rng.random()
    return Expression(*(strength * form + np.array(person.rest) + rng.normal(0, 0.1, size=len(form))))


def random_colour(rng: np.random.Generator, lightness: tuple[float, float], *, spread: float) -> Colour:
    """Draws a colour: a grey in the range `lightness`, each channel up to `spread` off."""
    red, green, blue = rng.uniform(*lightness) + rng.uniform(-spread, spread, size=3)
    return red, green, blue


def draw(person: Person, name: str, domain: Domain, size: int, rng: np.random.Generator) -> Image.Image:
    """Draws one picture of a person who shows the expression `name`; `size` is its side in pixels."""
    canvas = Canvas(
        size,
        random_colour(rng, domain.background, spread=35),
        centre=(0.5 + rng.uniform(-0.03, 0.03), 0.51 + rng.uniform(-0.03, 0.03)),
        unit=rng.uniform(0.4, 0.46),
        degrees=rng.uniform(-10, 10),
    )
    draw_face(
        canvas,
        person,
        random_expression(name, person, random_strength(domain, rng), rng),
        clothes=random_colour(rng, (60, 180), spread=50),
        gaze=(rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03)),
        mirrored=bool(rng.random() < 0.5),
    )
    return domain.camera.expose(canvas.finish(), rng)


def write(
    directory: Path,
    *,
    identities: int = 40,
    images_per_identity: int = 16,
    image_size: int = 128,
    seed: int = 0,
    domain: int = 0,
) -> int:
    """Draws a sample set as `directory/<class>/p<person>_<number>.jpg`.

    A picture depends on (seed, domain, person, number) and the image size alone: a larger set holds the smaller
    one, byte for byte with the same version of Pillow.

    Args:
        directory: A folder that does not exist yet, or is empty.
        identities: How many persons, 1 to 1000.
        images_per_identity: Pictures of each person, at least 8: each shows every expression, as evenly as the
            number allows.
        image_size: Side in pixels, 32 to 1024.
        seed: 0 or more.
        domain: 0, or another camera with other persons (`p1000` and up for domain 1, and so on).

    Returns:
        The number of pictures.

    Raises:
        DataError: A value is out of range, or `directory` is not empty or cannot be written.
    """
    check_settings(identities, images_per_identity, image_size, seed, domain)
    with new_folder(directory, marker=MARKER) as folder:
        for name in CLASSES:
            (folder / name).mkdir()
        for identity in range(identities):
            write_person(folder, identity, count=images_per_identity, size=image_size, key=(seed, domain))
    return identities * images_per_identity


def check_settings(identities: int, images_per_identity: int, image_size: int, seed: int, domain: int) -> None:
    """Checks what a sample set of faces is drawn with.

    Raises:
        DataError: A value is out of range.
    """
    check_whole_number("identities", identities, low=1, high=PERSONS_PER_DOMAIN)
    check_whole_number("images_per_identity", images_per_identity, low=len(CLASSES))
    check_whole_number("image_size", image_size, low=32, high=1024)
    check_whole_number("seed", seed, low=0)
    check_whole_number("domain", domain, low=0)


def write_person(folder: Path, identity: int, *, count: int, size: int, key: tuple[int, int]) -> None:
    """Draws `count` pictures of one person; `key` is (seed, domain)."""
    domain = OTHER if key[1] else FIRST
    person = Person.random(np.random.default_rng([*key, identity]))
    for number in range(count):
        name = class_of(identity, number)
        rng = np.random.default_rng([*key, identity, number + 1])
        picture = draw(person, name, domain, size, rng)
        domain.camera.save(picture, folder / name / f"{stem_of(identity, number, key)}.jpg", rng)


def class_of(identity: int, number: int) -> str:
    """Which class a person's picture `number` shows; persons start at different ones, so that all get as many."""
    return CLASSES[(identity + number) % len(CLASSES)]


def stem_of(identity: int, number: int, key: tuple[int, int]) -> str:
    """Names a picture so that `GROUP_PATTERN` finds its person; `key` is (seed, domain)."""
    return f"p{key[1] * PERSONS_PER_DOMAIN + identity:04d}_{number:03d}"
