"""How a person's face is drawn, feature by feature."""

from __future__ import annotations

import numpy as np

from cvlab.data.synthetic.drawing import Canvas, Colour, Points, bend, mix, oval, points
from cvlab.data.synthetic.person import Expression, Person

DARK: Colour = (26, 14, 14)
WHITE: Colour = (240, 238, 234)


def draw_face(
    canvas: Canvas,
    person: Person,
    face: Expression,
    *,
    clothes: Colour,
    gaze: tuple[float, float] = (0.0, 0.0),
    mirrored: bool = False,
) -> None:
    """Draws a person from the shoulders up; the face is about two units high, its centre the origin.

    Args:
        canvas: Where to draw.
        person: What stays the same in all pictures of one person.
        face: What the face does.
        clothes: The colour of the shoulders.
        gaze: How far the irises are off the middle, in units.
        mirrored: Whether a one-sided smile is on the left of the picture.
    """
    draw_head(canvas, person, clothes)
    draw_folds(canvas, person, face)
    if person.beard:
        draw_beard(canvas, person)
    for side in (-1, 1):
        draw_eye(canvas, person, face, side, gaze)
    draw_nose(canvas, person, face)
    draw_mouth(canvas, person, face, mirrored=mirrored)
    draw_hair(canvas, person)
    for side in (-1, 1):
        draw_brow(canvas, person, face, side)
    if person.glasses:
        draw_glasses(canvas, person)


def head_outline(person: Person, *, grow: float = 1.0) -> Points:
    """Returns the outline of the head, clockwise from the right; half an ellipse above, the jaw below."""
    angles = np.linspace(0, 2 * np.pi, 49)[:-1]
    x, y = np.cos(angles), np.sin(angles)
    below = y > 0
    x = np.where(below, np.sign(x) * np.abs(x) ** person.jaw, x)
    y = np.where(below, y * (person.chin + 0.1), y * 0.9)
    return np.column_stack([x * person.width * grow, y * grow - 0.1])


def draw_head(canvas: Canvas, person: Person, clothes: Colour) -> None:
    """Draws what lies behind the face (shoulders, neck, long hair, ears), then the head."""
    wide = person.width
    if person.cut in ("bob", "long"):
        length = 0.62 if person.cut == "bob" else 1.5
        canvas.fill(oval((0, -0.25), (wide * 1.2, 0.9)), person.hair)
        canvas.fill(points((-wide * 1.2, -0.25), (wide * 1.2, -0.25), (wide * 1.15, length), (-wide * 1.15, length)),
                    person.hair)  # fmt: skip
    if person.cut == "curly":
        for angle in np.linspace(np.pi * 0.97, np.pi * 2.03, 13):
            canvas.fill(oval((wide * 1.02 * np.cos(angle), 0.85 * np.sin(angle) - 0.15), (0.22, 0.22)), person.hair)
    canvas.fill(oval((0, 1.75), (1.35, 0.62)), clothes)
    canvas.fill(points((-0.36, 0.7), (0.36, 0.7), (0.42, 1.35), (-0.42, 1.35)), person.shade(0.3))
    for side in (-1, 1):
        canvas.fill(oval((side * wide * 1.03, 0.02), (0.1, 0.19)), person.shade(0.12))
        canvas.fill(oval((side * wide * 1.05, 0.02), (0.05, 0.12)), person.shade(0.35))
    canvas.fill(head_outline(person), person.skin)


def draw_beard(canvas: Canvas, person: Person) -> None:
    """Draws a beard along the jaw; the moustache belongs to the mouth, with which it moves."""
    outline, wide = head_outline(person), person.width
    edge = bend((-wide * 0.8, 0.1), (0, 0.64), (wide * 0.8, 0.1))
    canvas.fill(np.vstack([outline[outline[:, 1] > 0.1], edge]), person.beard_colour)


def fold(canvas: Canvas, person: Person, path: Points, depth: float) -> None:
    """Draws a fold of the skin along `path`, `depth` 0 (none) to 1; it tapers towards both ends."""
    if depth > 0:
        canvas.stroke(path, person.shade(depth), width=(0, 0.03, 0))


def draw_folds(canvas: Canvas, person: Person, face: Expression) -> None:
    """Draws the folds that movements make: on the forehead, between the brows, beside nose and mouth."""
    raised = (face.inner_brow + face.outer_brow) / 2
    for height in (0.13, 0.2):
        y = person.brow_y - height - 0.08 * max(raised, 0)
        fold(canvas, person, bend((-0.3, y), (0, y - 0.03), (0.3, y)), 0.5 * raised - 0.12)
    frown = face.pinch - 0.4 * max(face.inner_brow, 0)
    beside = max(face.nose, 0.8 * face.corners, 0.6 * face.cheeks, 0.4 * face.upper_lip)
    wing, corner = person.nose_width + 0.02, person.mouth_width * (1 + 0.3 * face.stretch) + 0.11
    eye, y = person.eye_x, person.brow_y
    for side in (-1, 1):
        crease = bend((side * 0.06, y - 0.1), (side * 0.04, y), (side * 0.055, y + 0.08))
        fold(canvas, person, crease, 0.7 * frown - 0.1)
        curve = bend((side * wing, person.nose_y - 0.05), (side * (corner - 0.03), 0.33), (side * corner, 0.55))
        fold(canvas, person, curve, 0.5 * beside)
        bag = bend((side * (eye - 0.14), 0.03), (side * eye, 0.08), (side * (eye + 0.16), 0))
        fold(canvas, person, bag, 0.4 * face.cheeks)


def draw_eye(canvas: Canvas, person: Person, face: Expression, side: int, gaze: tuple[float, float]) -> None:
    """Draws one eye; iris and pupil are cut off by the lids."""
    across = np.linspace(-1, 1, 15)
    arch = 1 - across**2
    x = person.eye_x * side + across * person.eye_size
    upper = -0.12 - arch * person.eye_size * max(0.5 + 0.36 * face.lids, 0.06)
    lower = -0.12 + arch * person.eye_size * max(0.34 + 0.1 * face.lids - 0.26 * max(face.cheeks, 0), 0.04)
    canvas.stroke(np.column_stack([x, upper - 0.045]), person.shade(0.3), width=(0, 0.02, 0))
    canvas.fill(np.vstack([np.column_stack([x, upper]), np.column_stack([x, lower])[::-1]]), WHITE)
    for radius, colour in ((0.55, person.iris), (0.26, DARK)):
        disc = oval((person.eye_x * side + gaze[0], -0.135 + gaze[1]), (person.eye_size * radius,) * 2)
        disc[:, 1] = np.clip(disc[:, 1], np.interp(disc[:, 0], x, upper), np.interp(disc[:, 0], x, lower))
        canvas.fill(disc, colour)
    canvas.stroke(np.column_stack([x, upper]), mix(person.shade(1), DARK, 0.6), width=(0.01, 0.035, 0.01))
    canvas.stroke(np.column_stack([x, lower]), person.shade(0.5), width=(0.01, 0.016, 0.01))


def draw_brow(canvas: Canvas, person: Person, face: Expression, side: int) -> None:
    """Draws one brow, thick at the inner end."""
    middle_lift = (face.inner_brow + face.outer_brow) / 2 + 0.25
    inner = (side * (person.eye_x - 0.17 - 0.05 * face.pinch), person.brow_y - 0.13 * face.inner_brow)
    outer = (side * (person.eye_x + 0.19), person.brow_y + 0.03 - 0.1 * face.outer_brow)
    middle = (side * (person.eye_x + 0.01), person.brow_y - 0.12 * middle_lift)
    wide = person.brow_width
    canvas.stroke(bend(inner, middle, outer), mix(person.hair, DARK, 0.6), width=(wide, wide, wide * 0.3))


def draw_nose(canvas: Canvas, person: Person, face: Expression) -> None:
    """Draws bridge, wings and nostrils; wrinkles across the bridge."""
    wide, lift = person.nose_width * (1 + 0.18 * max(face.nose, 0)), 0.05 * max(face.nose, 0)
    y = person.nose_y - lift
    canvas.stroke(bend((-0.055, -0.15), (-0.05, 0.02), (-wide * 0.8, y)), person.shade(0.25), width=(0.02, 0.03))
    canvas.stroke(bend((0, -0.1), (0.01, 0.03), (0, y - 0.04)), mix(person.skin, WHITE, 0.22), width=(0.03, 0.06))
    base = bend((-wide, y - 0.03), (0, y + 0.06), (wide, y - 0.03))
    canvas.stroke(base, person.shade(0.45), width=(0.02, 0.035, 0.02))
    for side in (-1, 1):
        canvas.fill(oval((side * wide * 0.5, y), (wide * 0.27, 0.022), count=10), person.shade(0.85))
    for height in (-0.12, -0.05, 0.02):
        wrinkle = bend((-0.09, height - 0.02), (0, height + 0.02), (0.09, height - 0.02))
        fold(canvas, person, wrinkle, 0.65 * face.nose - 0.1)


def draw_mouth(canvas: Canvas, person: Person, face: Expression, *, mirrored: bool) -> None:
    """Draws lips, and teeth and throat between them; `mirrored` chooses the side of a one-sided smile."""
    t = np.linspace(-1, 1, 25)
    one_side = np.clip(-t if mirrored else t, 0, 1)
    lift = 0.15 * face.corners * t**2 + 0.19 * face.smirk * one_side**1.7
    x = t * person.mouth_width * (1 + 0.3 * face.stretch) + 0.05 * face.smirk * one_side * np.sign(t)
    line = 0.53 + 0.05 * face.corners - 0.03 * face.chin - lift
    gap, flare = 1 - np.abs(t) ** 2.4, np.clip(1 - t**2, 0, 1) ** 0.6
    jaw, raised = max(face.jaw - 0.08, 0), max(face.upper_lip, 0)
    above = line - gap * (0.05 * jaw + 0.06 * raised)
    below = line + gap * 0.26 * jaw
    full = person.lips * max(1 - 0.75 * max(face.press, 0), 0.15)
    bow = 1 - 0.25 * np.exp(-((t / 0.16) ** 2))
    top, bottom = above - flare * bow * full, below + flare * full * (1.25 + 0.5 * max(face.chin, 0))
    lips = mix(person.shade(0.25), (176, 62, 66), person.lip_red)
    if person.beard:
        moustache = np.column_stack([x * 1.15, top - 0.05])
        canvas.stroke(moustache, person.beard_colour, width=(0.02, 0.07, 0.06, 0.07, 0.02))
    canvas.fill(_between(x, top, bottom), lips)
    canvas.fill(_between(x, above, below), (70, 22, 24))
    teeth = np.minimum(above + 0.075 * gap, below)
    canvas.fill(_between(x * 0.94, above, teeth), mix(WHITE, (70, 22, 24), 0.08))
    canvas.stroke(np.column_stack([x, above]), mix(person.shade(0.9), lips, 0.2), width=(0.02, 0.025, 0.02))
    corner, y = (0 if mirrored else -1), bottom.max()
    across, height = x[corner] * 1.1, line[corner]
    dimple = bend((across, height - 0.07), (across * 1.06, height), (across, height + 0.06))
    fold(canvas, person, dimple, 0.55 * face.smirk)
    if not person.beard:
        fold(canvas, person, bend((-0.1, y + 0.06), (0, y + 0.045), (0.1, y + 0.06)), 0.3)
        fold(canvas, person, bend((-0.11, y + 0.12), (0, y + 0.08), (0.11, y + 0.12)), 0.6 * face.chin)


def _between(x: Points, upper: Points, lower: Points) -> Points:
    return np.vstack([np.column_stack([x, upper]), np.column_stack([x, lower])[::-1]])


def draw_hair(canvas: Canvas, person: Person) -> None:
    """Draws the hair that lies on the head, down to the hairline."""
    if person.cut == "bald":
        return
    outline = head_outline(person, grow=1.07)
    crown = outline[outline[:, 1] < (-0.3 if person.cut == "short" else -0.12)]
    (left, y), (right, _) = crown[0], crown[-1]
    line = person.hairline + (0.09 if person.cut == "fringe" else 0.0)
    edge = np.linspace(right, left, 21)
    rise = 1 - np.abs(np.linspace(-1, 1, 21)) ** (8 if person.cut == "fringe" else 3.5)
    canvas.fill(np.vstack([crown, np.column_stack([edge * 0.97, y + (line - y) * rise])]), person.hair)


def draw_glasses(canvas: Canvas, person: Person) -> None:
    """Draws round frames, a bridge and the temples."""
    frame = (40, 38, 42)
    for side in (-1, 1):
        ring = oval((side * person.eye_x, -0.1), (person.eye_x * 0.78, 0.2))
        canvas.stroke(np.vstack([ring, ring[:1]]), frame, width=0.022)
        canvas.stroke(points((side * person.eye_x * 1.76, -0.13), (side * person.width, -0.1)), frame, width=0.022)
    inner = person.eye_x * 0.23
    canvas.stroke(bend((-inner, -0.12), (0, -0.15), (inner, -0.12)), frame, width=0.022)
