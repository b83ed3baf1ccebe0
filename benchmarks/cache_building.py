"""How fast images are decoded into the cache, where the time goes, and that memory does not grow with the data."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from benchmarks import images, measure

SIZE = (128, 128)
MODULE = "benchmarks.cache_building"


@dataclass
class Build:
    """Seconds of one build of the cache."""

    hashing: float
    decoding: float


def build(folder: Path, cache: Path) -> Build:
    """Builds the cache of a folder as a training would, from nothing."""
    from cvlab.console import Console
    from cvlab.data.cache import open_or_build
    from cvlab.data.fingerprint import content_hashes

    files, console = images.files_of(folder), Console()
    began = time.perf_counter()
    hashes = content_hashes(files, cache_dir=cache, console=console)
    hashed = time.perf_counter()
    open_or_build(files, hashes, image_size=SIZE, cache_dir=cache, console=console)
    return Build(hashed - began, time.perf_counter() - hashed)


def builds(folder: Path, scratch: Path, repeats: int) -> list[Build]:
    found = []
    for number in range(repeats):
        cache = scratch / f"built-{number}"
        found.append(build(folder, cache))
        shutil.rmtree(cache)
    return found


def parts(folder: Path, scratch: Path) -> dict[str, float]:
    """Milliseconds an image of each part of the work, one after the other in one thread."""
    from cvlab.data.decode import decode_bytes

    files = images.files_of(folder)[:500]
    contents = [path.read_bytes() for path in files]
    loaded = [Image.open(BytesIO(data)) for data in contents]
    decoded = decode_bytes(contents[0], image_size=SIZE).pixels

    def write() -> None:
        with (scratch / "written").open("wb") as file:
            for _ in files:
                file.write(decoded.tobytes())
            file.flush()
            os.fsync(file.fileno())

    work: dict[str, Callable[[], object]] = {
        "reading the file (done twice)": lambda: [path.read_bytes() for path in files],
        "SHA-256 (done twice)": lambda: [hashlib.sha256(data).hexdigest() for data in contents],
        "decoding, scaling, RGB": lambda: [decode_bytes(data, image_size=SIZE) for data in contents],
        "of that, Pillow's JPEG decoder": lambda: [image.load() for image in loaded],
        "writing, then one fsync": write,
    }
    milliseconds = {}
    for name, function in work.items():
        began = time.perf_counter()
        function()
        milliseconds[name] = (time.perf_counter() - began) / len(files) * 1000
    return milliseconds


def grow(folder: Path, target: Path, count: int) -> Path:
    """A folder of `count` different files: the images of `folder`, with a number behind the end of each."""
    files = images.files_of(folder)
    for number in range(count):
        source = files[number % len(files)]
        copy = target / source.parent.name / f"{number:06d}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes() + number.to_bytes(8, "big"))
    return target


def resident() -> tuple[float, float]:
    """Megabytes in memory now: anonymous, and of mapped files (which the system takes back when it needs them)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = dict(re.findall(r"(RssAnon|RssFile):\s+(\d+) kB", status))
    return int(found["RssAnon"]) / 1000, int(found["RssFile"]) / 1000


@contextmanager
def peak_memory(found: dict[str, float]) -> Iterator[None]:
    """Puts how far memory rises above what it is now into `found`, in megabytes."""
    start, peak, over = resident(), list(resident()), threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            peak[:] = map(max, peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        peak[:] = map(max, peak, resident())
        found |= {"anonymous": peak[0] - start[0], "mapped": peak[1] - start[1]}


def serve(settings: dict[str, Any]) -> None:
    """Measures the memory of building the cache, or of an epoch over it."""
    folder, cache = Path(settings["folder"]), Path(settings["cache"])
    found: dict[str, float] = {}
    if settings["what"] == "building":
        with peak_memory(found):
            build(folder, cache)
    else:
        os.environ["CVLAB_CACHE_DIR"] = str(cache)
        from benchmarks.input_pipeline import cvlab_batches

        epoch = cvlab_batches(folder, batch_size=32, augment=True)
        with peak_memory(found):
            epoch()
    measure.answer(found)


def memory_rows(folder: Path, scratch: Path, counts: list[int]) -> list[list[str]]:
    found: dict[str, list[dict[str, float]]] = {"building": [], "an epoch, augmented": []}
    for count in counts:
        many, cache = grow(folder, scratch / f"{count}", count), scratch / f"cache-{count}"
        for what, measured in found.items():
            measured.append(measure.once(MODULE, {"what": what, "folder": str(many), "cache": str(cache)}))
        shutil.rmtree(many)
        shutil.rmtree(cache)
    return [
        [f"{what}: {kind}", *(f"{numbers[kind]:,.0f} MB" for numbers in measured)]
        for what, measured in found.items()
        for kind in ("anonymous", "mapped")
    ]


def main() -> None:
    parser = measure.parser(__doc__)
    images.add_argument(parser)
    parser.add_argument("--counts", type=int, nargs="+", default=[2_000, 20_000], help="images, to compare memory")
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side)
        return
    counts = [20, 60] if arguments.smoke else arguments.counts
    with measure.scratch() as scratch:
        folder = images.image_folder(arguments.data, scratch, identities=1 if arguments.smoke else 125)
        count = len(images.files_of(folder))
        measure.show(f"{measure.machine()}\n{images.describe(folder)}; cached as {SIZE[0]}x{SIZE[1]}.\n")
        found = builds(folder, scratch, arguments.repeats)
        rates = {
            "hashing": [count / one.hashing for one in found],
            "decoding into the cache": [count / one.decoding for one in found],
            "both": [count / (one.hashing + one.decoding) for one in found],
        }
        rows = [
            [name, f"{median(values):,.0f}", f"{min(values):,.0f} .. {max(values):,.0f}"]
            for name, values in rates.items()
        ]
        measure.show(measure.table(("building", "images a second", "smallest .. largest"), rows) + "\n")
        rows = [[name, f"{value:.3f}"] for name, value in parts(folder, scratch).items()]
        measure.show(measure.table(("in one thread", "ms an image"), rows) + "\n")
        head = ["memory above the start", *(f"{number:,} images" for number in counts)]
        measure.show(measure.table(head, memory_rows(folder, scratch, counts)))


if __name__ == "__main__":
    main()
