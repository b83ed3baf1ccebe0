"""What the headers of files say: every format, remembered by content, and never a crash."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest

from cvlab.console import Console
from cvlab.data import image_facts
from cvlab.data.fingerprint import content_hashes
from cvlab.data.image_facts import ImageFacts, read_facts
from tests.image_fixture import RGB16, png16, tiff
from tests.picture_fixture import picture, save


def facts_of(paths: list[Path], folder: Path) -> list[ImageFacts | None]:
    console = Console(StringIO())
    hashes = content_hashes(paths, cache_dir=folder / "cache", console=console)
    return read_facts(paths, hashes, cache_dir=folder / "cache", console=console)


@pytest.mark.parametrize(
    ("name", "form", "mode"),
    [
        ("a.jpg", "JPEG", "L"),
        ("a.png", "PNG", "RGBA"),
        ("a.png", "PNG", "P"),
        ("a.bmp", "BMP", "RGB"),
        ("a.gif", "GIF", "P"),
        ("a.webp", "WEBP", "RGB"),
        ("a.tif", "TIFF", "CMYK"),
    ],
)
def test_format_mode_and_size(tmp_path: Path, name: str, form: str, mode: str) -> None:
    path = save(picture(1, 50).resize((50, 30)).convert(mode), tmp_path / name)
    (fact,) = facts_of([path], tmp_path)
    assert fact == ImageFacts(form, mode, 50, 30, path.stat().st_size)
    assert not fact.belies(path)


def test_sixteen_bits_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png16(RGB16[..., 0], 0))
    (tmp_path / "a.tif").write_bytes(tiff(RGB16[..., 0]))
    found = facts_of([tmp_path / "a.png", tmp_path / "a.tif"], tmp_path)
    assert [fact.mode for fact in found if fact] == ["I;16", "I;16"]


def test_the_content_and_not_the_ending_decides(tmp_path: Path) -> None:
    path = save(picture(1, 40), tmp_path / "a.jpg", format="PNG")
    (fact,) = facts_of([path], tmp_path)
    assert fact is not None
    assert fact.format == "PNG"
    assert fact.belies(path)
    assert not fact.belies(tmp_path / "a.PNG")
    assert not ImageFacts("TIFF", "L", 1, 1, 1).belies(Path("a.tiff"))


def test_what_is_no_image_has_no_facts(tmp_path: Path) -> None:
    whole = save(picture(1, 40), tmp_path / "whole.jpg").read_bytes()
    for name, content in (("text.jpg", b"text"), ("empty.png", b""), ("short.jpg", whole[:20])):
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in ("text.jpg", "whole.jpg", "empty.png", "short.jpg")]
    assert [fact is not None for fact in facts_of(paths, tmp_path)] == [False, True, False, False]


def test_headers_are_read_once_and_again_where_the_memory_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(picture(seed, 40), tmp_path / f"{seed}.png") for seed in range(3)]
    first = facts_of(paths, tmp_path)
    (index,) = (tmp_path / "cache" / "facts").iterdir()
    kept = index.read_text()
    assert len(json.loads(kept)) == 3
    with monkeypatch.context() as patch:
        patch.setattr(image_facts, "_read", lambda path: pytest.fail(f"{path} was read a second time"))
        assert facts_of(paths[::-1], tmp_path) == first[::-1]
    key = next(iter(json.loads(kept)))
    for damaged in ("", "{", "[]", json.dumps({key: ["PNG", "RGB", 40, 40]}), json.dumps({key: [1, "RGB", 4, 4, 4]})):
        index.write_text(damaged)
        assert facts_of(paths, tmp_path) == first
        assert index.read_text() == kept


def test_a_memory_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    path = save(picture(1, 40), tmp_path / "a.png")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "facts").write_text("in the way")
    (fact,) = facts_of([path], tmp_path)
    assert fact == ImageFacts("PNG", "RGB", 40, 40, path.stat().st_size)
