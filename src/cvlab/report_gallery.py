"""The pictures of predictions that evaluation drew, worst errors first, and what their heat maps show."""

from __future__ import annotations

from cvlab.document import Block, Paragraph, Picture
from cvlab.report_parts import picture_blocks
from cvlab.report_record import RunRecord
from cvlab.report_text import code, md
from cvlab.run_folder import read_json

GALLERIES = {
    "worst_errors": "Largest errors",
    "worst": "Worst masks",
    "confident_wrong": "Most confident wrong predictions",
    "near_threshold": "Predictions nearest the threshold",
    "confident_right": "Most confident right predictions",
    "predictions": "Predictions",
}
ALT = "Images in rows, each with its truth and its prediction above it"


def gallery_section(record: RunRecord) -> list[Block]:
    """Returns the pictures of predictions as blocks; none without any."""
    folder = record.run.pictures
    alt = f"{ALT}{', and its heat map beside it' if record.run.heat_maps.is_file() else ''}."
    found = [
        Picture(f"{folder.name}/{name}.png", caption, alt)
        for name, caption in GALLERIES.items()
        if (folder / f"{name}.png").is_file()
    ]
    return [*_about_heat_maps(record), *picture_blocks(found)] if found else []


def _about_heat_maps(record: RunRecord) -> list[Block]:
    if not record.run.heat_maps.is_file():
        return []
    where = read_json(record.run.heat_maps)
    rows, columns = where["size"]
    return [
        Paragraph(
            "Beside each image stands its heat map (Grad-CAM, Selvaraju et al. 2017): bright is where the last "
            f"convolution ({code(where['layer'])}, {rows} x {columns} places) saw what raises the "
            f"{md(where['explains'])} of the predicted class, scaled to the strongest place of each image; where no "
            "place is bright, nothing raises it. A heat map shows where the network looked, not whether it was right "
            "to."
        )
    ]
