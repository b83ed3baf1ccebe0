"""Cuts and flips files of every image format in many places: each is decoded or named, never a crash or a hang.

Run it with `python -m tests.faults.damaged_images --places 200`. Each format is decoded in a process of its own, so
that a crash of a decoder would be seen, with a limit on the processor time of each file and on the memory of all.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import FrameType

import numpy as np
from PIL import Image

from cvlab.data.decode import decode_bytes, quiet_decoding
from cvlab.data.decode_mask import decode_mask
from cvlab.data.image_file import UnreadableImage
from tests.image_fixture import ALPHA, GREY, RGB, RGB16, png16, saved, tiff

SECONDS_A_FILE = 5
MEMORY = 4_000_000_000
SIZE = (32, 24)
NOISE = np.random.default_rng(3).integers(0, 256, (48, 40, 3), dtype=np.uint8)


def _animated(form: str) -> bytes:
    stream = BytesIO()
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(stream, form, save_all=True, append_images=frames[1:])
    return stream.getvalue()


# Every format that is read, in the variants whose decoders differ.
FILES = {
    "JPEG": saved(NOISE, "JPEG"),
    "JPEG, grey": saved(NOISE[..., 0], "JPEG"),
    "JPEG, progressive": saved(NOISE, "JPEG", progressive=True),
    "JPEG, CMYK": saved(Image.fromarray(NOISE).convert("CMYK"), "JPEG"),
    "PNG": saved(NOISE, "PNG"),
    "PNG, palette": saved(Image.fromarray(NOISE).quantize(16), "PNG", transparency=3),
    "PNG, 1 bit": saved(Image.fromarray(NOISE).convert("1"), "PNG"),
    "PNG, 16 bits": png16(RGB16, 2),
    "PNG, 16 bits with alpha": png16(RGB16[..., :2], 4),
    "BMP": saved(NOISE, "BMP"),
    "BMP, palette": saved(Image.fromarray(NOISE).quantize(16), "BMP"),
    "GIF": saved(NOISE, "GIF"),
    "GIF, animated": _animated("GIF"),
    "WebP": saved(NOISE, "WEBP"),
    "WebP, lossless with alpha": saved(np.dstack([RGB, ALPHA]), "WEBP", lossless=True),
    "WebP, animated": _animated("WEBP"),
    "TIFF": tiff(RGB, photometric="rgb"),
    "TIFF, grey": tiff(GREY),
    "TIFF, 16 bits": tiff(RGB16, photometric="rgb"),
    "TIFF, planes": tiff(np.moveaxis(RGB16, 2, 0).copy(), photometric="rgb", planarconfig="separate"),
    "TIFF, tiles": tiff(NOISE, photometric="rgb", tile=(16, 16), compression="zlib"),
    "TIFF, LZW": saved(RGB, "TIFF", compression="tiff_lzw"),
    "TIFF, Deflate": saved(RGB, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, JPEG": saved(NOISE, "TIFF", compression="jpeg"),
    "TIFF, packed bits": saved(RGB, "TIFF", compression="packbits"),
    "TIFF, fax": saved(Image.fromarray(NOISE).convert("1"), "TIFF", compression="group4"),
    "BigTIFF": tiff(RGB16[..., 0], bigtiff=True),
    "BigTIFF, big-endian": tiff(RGB16[..., 0], bigtiff=True, byteorder=">"),
    "BigTIFF, big-endian, zlib": tiff(RGB16[..., 0], bigtiff=True, byteorder=">", compression="zlib"),
}


def damaged(whole: bytes, *, places: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields a file cut at so many places, and with a bit flipped at as many, half of them in its first 200 bytes."""
    rng = np.random.default_rng(seed)
    for place in np.linspace(0, len(whole) - 1, places).astype(int).tolist():
        yield f"cut at {place}", whole[:place]
    heads = rng.integers(min(200, len(whole)), size=places // 2)
    for place in [*heads.tolist(), *np.linspace(0, len(whole) - 1, places - len(heads)).astype(int).tolist()]:
        bit, flipped = int(rng.integers(8)), bytearray(whole)
        flipped[place] ^= 1 << bit
        yield f"bit {bit} of byte {place} flipped", bytes(flipped)


def fault_of(data: bytes) -> tuple[str, bool]:
    """What is wrong with how a file is received, empty if nothing; and whether it is decoded, as image or as mask."""
    is_image = False
    try:
        is_image = decode_bytes(data, image_size=SIZE).pixels.shape == (*SIZE, 3)
        decode_mask(data, image_size=SIZE)
    except UnreadableImage as error:
        text = str(error)
        return ("" if text and len(text.splitlines()) == 1 else f"the reason is {text!r}"), is_image
    except Exception:
        return traceback.format_exc(), False
    return "", is_image


def check_format(form: str, *, places: int) -> tuple[Counter[str], list[str]]:
    """Decodes one format with all its damages, in this process."""
    outcomes: Counter[str] = Counter()
    faults = []
    assert fault_of(FILES[form]) == ("", True)
    signal.signal(signal.SIGPROF, _too_slow)
    with quiet_decoding():
        for what, data in damaged(FILES[form], places=places, seed=len(form)):
            start = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, SECONDS_A_FILE)
            try:
                fault, is_image = fault_of(data)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            seconds = time.process_time() - start
            outcomes["slowest, ms"] = max(outcomes["slowest, ms"], round(1000 * seconds))
            if seconds >= SECONDS_A_FILE:  # The decoder may have taken the interruption for damage.
                fault = f"takes {seconds:.1f} s"
            outcomes["decoded" if is_image else "named"] += 1
            if fault:
                faults.append(f"{form}, {what}: {fault}")
    return outcomes, faults


def _too_slow(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS_A_FILE} s for a file")


def _check_into(form: str, places: int, sender: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sender.send(check_format(form, places=places))


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=200, help="where each format is cut, and where it is flipped")
    places = parser.parse_args().places
    total: Counter[str] = Counter()
    faults: list[str] = []
    for form in FILES:
        receiver, sender = get_context("fork").Pipe(duplex=False)
        process = get_context("fork").Process(target=_check_into, args=(form, places, sender))
        process.start()
        sender.close()
        # A decoder that hangs in C hears no signal of Python, and one that waits takes no time of the processor.
        if receiver.poll(2 * places * SECONDS_A_FILE):
            try:
                outcomes, found = receiver.recv()
            except EOFError:
                process.join()
                outcomes, found = Counter(), [f"{form}: the decoder ended the process ({process.exitcode})"]
        else:
            process.kill()
            outcomes, found = Counter(), [f"{form}: hangs"]
        process.join()
        faults += found
        total.update({key: outcomes[key] for key in ("decoded", "named")})
        print(f"{form}: {outcomes['decoded']} decoded, {outcomes['named']} named, slowest {outcomes['slowest, ms']} ms")
    print(f"{total['decoded'] + total['named']} files: {total['decoded']} decoded, {total['named']} named")
    print(*faults, f"{len(faults)} faults", sep="\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(_main())
