"""Drawn faces in larger pictures, with expression, valence and arousal, in the layout of AffectNet.

Valence (-1 unpleasant to 1 pleasant) and arousal (-1 calm to 1 excited) follow from what is drawn: a place on the
circumplex of affect for each emotion (Russell 1980), times the strength with which the face shows it, plus a little
noise. A picture in twenty shows no clear expression, or no face: its numbers are -2, as in AffectNet.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvlab.data.synthetic import emotion
from cvlab.data.synthetic.drawing import Canvas, new_folder, oval, points
from cvlab.data.synthetic.emotion import Domain, random_colour, random_expression, random_strength
from cvlab.data.synthetic.face import draw_face
from cvlab.data.synthetic.person import Person

GROUP_PATTERN = emotion.GROUP_PATTERN
FOLDERS = emotion.FOLDERS
FULL = emotion.FULL
SMALL = emotion.SMALL
MARKER = emotion.MARKER

TABLE = "training.csv"
IMAGES = "images"
IMAGE, LABEL, NUMBERS = "subDirectory_filePath", "expression", ("valence", "arousal")
BOX = ("face_x", "face_y", "face_width", "face_height")
CLASSES = {
    "0": "neutral", "1": "happy", "2": "sad", "3": "surprise", "4": "fear", "5": "disgust", "6": "anger",
    "7": "contempt",
}  # fmt: skip
MISSING = -2.0
CODES = {name: code for code, name in CLASSES.items()}
NO_EXPRESSION, UNCERTAIN, NO_FACE = "8", "9", "10"

# About where Russell places the words, valence first; disgust and contempt, which he has not, go beside anger.
CIRCUMPLEX = {
    "neutral": (0.0, 0.0), "happy": (0.85, 0.3), "sad": (-0.75, -0.45), "surprise": (0.3, 0.8),
    "fear": (-0.4, 0.85), "disgust": (-0.8, 0.35), "anger": (-0.6, 0.65), "contempt": (-0.6, 0.0),
}  # fmt: skip
NOISE = 0.05
UNCLEAR = 1 / 20
PERSONS_PER_FOLDER = 10

# In shares of the asked image size: the box around a face, and the sides of the picture around the box.
BOX_SIZE = (0.85, 1.15)
PICTURE_SIDE = (1.35, 1.85)
# A head is about two units high and has a little margin in its box.
UNITS_IN_BOX = 2.15


class Place(NamedTuple):
    """Where the face is in its picture; pixels, from the left and upper edge."""

    picture: tuple[int, int]
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    unit: float
    degrees: float

    def landmarks(self, person: Person) -> str:
        """Eyes, nose and mouth as `x;y;x;y;...`, left to right in the picture, as AffectNet writes them."""
        features = points((-person.eye_x, -0.12), (person.eye_x, -0.12), (0, person.nose_y), (0, 0.53))
        cosine, sine = np.cos(np.radians(self.degrees)), np.sin(np.radians(self.degrees))
        turned = features @ np.array([[cosine, sine], [-sine, cosine]]) * self.unit + self.centre
        return ";".join(f"{value:.2f}" for value in turned.ravel())


def write(
    directory: Path,
    *,
    identities: int = 40,
    images_per_identity: int = 16,
    image_size: int = 128,
    seed: int = 0,
    domain: int = 0,
) -> int:
    """Draws a sample set: `directory/training.csv` and `directory/images/<folder>/p<person>_<number>.jpg`.

    A picture and its row depend on (seed, domain, person, number) and the image size alone: a larger set holds the
    smaller one, byte for byte with the same version of Pillow.

    Args:
        directory: A folder that does not exist yet, or is empty.
        identities: How many persons, 1 to 1000.
        images_per_identity: Pictures of each person, at least 8.
        image_size: About the side of the box around a face in pixels, 32 to 1024; the pictures are larger.
        seed: 0 or more.
        domain: 0, or another camera with other persons (`p1000` and up for domain 1, and so on).

    Returns:
        The number of pictures.

    Raises:
        DataError: A value is out of range, or `directory` is not empty or cannot be written.
    """
    emotion.check_settings(identities, images_per_identity, image_size, seed, domain)
    with (
        new_folder(directory, marker=MARKER) as folder,
        (folder / TABLE).open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow([IMAGE, *BOX, "facial_landmarks", LABEL, *NUMBERS])
        for identity in range(identities):
            rows = write_person(folder / IMAGES, identity, images_per_identity, image_size, (seed, domain))
            table.writerows(rows)
    return identities * images_per_identity


def write_person(folder: Path, identity: int, count: int, image_size: int, key: tuple[int, int]) -> list[list[str]]:
    """Draws `count` pictures of one person and returns their rows; `key` is (seed, domain)."""
    domain = emotion.OTHER if key[1] else emotion.FIRST
    person = Person.random(np.random.default_rng([*key, identity]))
    rows = []
    for number in range(count):
        rng = np.random.default_rng([*key, identity, number + 1])
        stem = emotion.stem_of(identity, number, key)
        name = f"{int(stem[1:].split('_')[0]) // PERSONS_PER_FOLDER}/{stem}.jpg"
        place, strength = random_place(image_size, rng), random_strength(domain, rng)
        emotion_name = emotion.class_of(identity, number)
        code, numbers = CODES[emotion_name], random_affect(emotion_name, strength, rng)
        if rng.random() < UNCLEAR:
            code, numbers = str(rng.choice([NO_EXPRESSION, UNCERTAIN, NO_FACE])), (f"{MISSING:g}", f"{MISSING:g}")
            strength /= 3
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shown = None if code == NO_FACE else emotion_name
        domain.camera.save(draw(person, shown, strength, place, domain, rng), folder / name, rng)
        rows.append([name, *map(str, place.box), place.landmarks(person), code, *numbers])
    return rows


def random_affect(name: str, strength: float, rng: np.random.Generator) -> tuple[str, ...]:
    """Draws valence and arousal of the expression `name` at `strength`, -1 to 1, as text with six decimals."""
    values = np.array(CIRCUMPLEX[name]) * strength + rng.normal(0, NOISE, size=2)
    return tuple(f"{value:.6f}" for value in np.clip(values, -1, 1))


def random_place(image_size: int, rng: np.random.Generator) -> Place:
    """Draws the size of a picture and where in it the face is; the box is as loose as a person would draw it."""
    width, height = (round(image_size * side) for side in rng.uniform(*PICTURE_SIDE, size=2))
    side = rng.uniform(*BOX_SIZE) * image_size
    centre = rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2)
    edges = np.array([*centre, *centre]) + np.array([-1, -1, 1, 1]) * side / 2 * rng.uniform(0.96, 1.04, size=4)
    left, top, right, bottom = np.clip(np.rint(edges), 0, [width, height, width, height]).astype(int).tolist()
    box = (left, top, right - left, bottom - top)
    return Place((width, height), box, centre, side / UNITS_IN_BOX, rng.uniform(-10, 10))


def draw(
    person: Person, name: str | None, strength: float, place: Place, domain: Domain, rng: np.random.Generator
) -> Image.Image:
    """Draws one picture of a person who shows the expression `name` at `strength`; without a name, nobody is there."""
    side = max(place.picture)
    centre: NDArray[np.float64] = np.array(place.centre) / side
    canvas = Canvas(
        side,
        random_colour(rng, domain.background, spread=35),
        centre=(centre[0], centre[1]),
        unit=place.unit / side,
        degrees=place.degrees,
    )
    draw_surroundings(canvas, domain, rng)
    if name is not None:
        clothes = random_colour(rng, (60, 180), spread=50)
        canvas.fill(points((-1.35, 1.75), (1.35, 1.75), (1.35, 6), (-1.35, 6)), clothes)
        draw_face(
            canvas,
            person,
            random_expression(name, person, strength, rng),
            clothes=clothes,
            gaze=(rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03)),
            mirrored=bool(rng.random() < 0.5),
        )
    return domain.camera.expose(canvas.finish(), rng).crop((0, 0, *place.picture))


def draw_surroundings(canvas: Canvas, domain: Domain, rng: np.random.Generator) -> None:
    """Draws some things around the face: boards and discs of any colour, larger and smaller."""
    for _ in range(rng.integers(3, 8)):
        x, y = rng.uniform(-3.5, 3.5, size=2)
        wide, high = rng.uniform(0.15, 1.2, size=2)
        colour = random_colour(rng, domain.background, spread=60)
        if rng.random() < 0.7:
            canvas.fill(
                points((x - wide, y - high), (x + wide, y - high), (x + wide, y + high), (x - wide, y + high)), colour
            )
        else:
            canvas.fill(oval((x, y), (wide, wide)), colour)
