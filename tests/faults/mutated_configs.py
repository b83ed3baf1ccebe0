"""Damages configurations at random: each one loads, or is refused in plain words; no unknown key ever passes.

Run it with `python -m tests.faults.mutated_configs --count 5000`. What is damaged are the shipped configurations, as
they are written and with all that they extend; loading makes every check that needs no data. One that loads is written
out and read again, and must be the same.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.config_merge import WHOLE, read_with_bases
from cvlab.errors import ConfigError
from cvlab.yaml_file import read_document

CONFIGS = Path(__file__).parents[2] / "configs"
MOST_SECONDS = 60
# What no plain message says.
WORDS_OF_OTHERS = ("pydantic", "Input should", "validation error", "dict", "NoneType", "Traceback", "<class", "str'>")
# Every new key holds this, which is part of no key that there is.
UNKNOWN = "zq"
CHANGES = ("drop", "rename", "misspell", "duplicate", "retype", "insert", "swap")


class Mapping(list[tuple[str, Any]]):
    """The pairs of a mapping, in which a key may stand twice."""


JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 2.5, 1e-3, 10**30, -(10**30), 1e300, float("inf"), float("nan"), "", "x", "8",
    "1e-3", "all", "adam", "sgd", "none", "\x1b[31m", "a.b", "\u00e9", "\u202egpj", "../..", "x" * 3000, [], [1],
    ["x", None], [[1, 2], [3]], [64, 64], [0, 0], [1, 2, 3], Mapping(), Mapping([("name", "sgd")]),
    Mapping([("name", None)]), Mapping([("", 1)]), Mapping([("name", ["x"])]),
    [Mapping([("name", "HorizontalFlip")])], [Mapping()] * 3,
)  # fmt: skip
NAMES = ("name", "data", "stages", "optimizer", "epochs", "sgd", "0", "", "a.b", "None", "p", "schedule", "train", "on")


def tree(value: Any) -> Any:
    """A document whose mappings are lists of pairs, so that a key can stand twice."""
    if isinstance(value, dict):
        return Mapping((key, tree(item)) for key, item in value.items())
    return [tree(item) for item in value] if isinstance(value, list) else value


def text_of(value: Any) -> str:
    """Writes a tree as YAML's flow style, with quoted keys."""
    if isinstance(value, Mapping):
        return "{" + ",\n".join(f"{json.dumps(key)}: {text_of(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text_of, value)) + "]"
    return yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None, width=10**6).split("\n")[0]


def holders(value: Any) -> Iterator[Any]:
    """All mappings and lists that hold something."""
    if isinstance(value, list) and value:
        yield value
    for item in value if isinstance(value, list) else ():
        yield from holders(item[1] if isinstance(value, Mapping) else item)


def settings_of(value: Any) -> Iterator[Mapping]:
    """All mappings whose keys are settings, not data such as names of classes."""
    if isinstance(value, Mapping):
        yield value
        value = [item for key, item in value if key not in WHOLE]
    for item in value if isinstance(value, list) else ():
        yield from settings_of(item)


def unknown_keys(value: Any) -> list[str]:
    """The keys in a tree that no configuration has."""
    return [key for mapping in settings_of(value) for key, _ in mapping if UNKNOWN in key]


def repeated_keys(value: Any) -> list[str]:
    """The keys that a mapping in a tree has twice."""
    mappings = [item for item in holders(value) if isinstance(item, Mapping)]
    return [key for mapping in mappings for key, count in Counter(key for key, _ in mapping).items() if count > 1]


def damaged(whole: Any, rng: random.Random) -> Any:
    """Returns a copy of a tree with one to four changes."""
    value = copy.deepcopy(whole)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if found := [*holders(value)]:
            _change(rng.choice(found), rng)
    return value


def _change(holder: Any, rng: random.Random) -> None:
    place, kind, pairs = rng.randrange(len(holder)), rng.choice(CHANGES), isinstance(holder, Mapping)
    junk = copy.deepcopy(rng.choice(JUNK))
    if kind == "drop":
        del holder[place]
    elif kind == "duplicate":
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[place]))
    elif kind == "swap":
        other = rng.randrange(len(holder))
        if pairs:
            (one, first), (two, second) = holder[place], holder[other]
            holder[place], holder[other] = (one, second), (two, first)
        else:
            holder[place], holder[other] = holder[other], holder[place]
    elif kind == "retype" or not pairs:
        holder[place] = (holder[place][0], junk) if pairs else junk
    elif kind == "rename":
        holder[place] = (rng.choice(NAMES), holder[place][1])
    elif kind == "misspell":
        name = holder[place][0]
        at = rng.randrange(len(name) + 1)
        holder[place] = (name[:at] + UNKNOWN + name[at:], holder[place][1])
    else:
        holder.insert(place, (rng.choice((UNKNOWN, *NAMES)), junk))


def fault_of(path: Path, value: Any) -> tuple[str, bool]:
    """What is wrong with how a tree is received, empty if nothing; and whether it loads."""
    path.write_text(text_of(value), encoding="utf-8")
    try:
        experiment = load_experiment(path)
    except ConfigError as error:
        return _fault_of_words(error.problems, path, value), False
    except Exception:
        return traceback.format_exc(), False
    if strange := [*unknown_keys(value), *repeated_keys(value)]:
        return f"accepted with the keys {strange}", True
    path.write_text(experiment_yaml(experiment), encoding="utf-8")
    return "" if load_experiment(path) == experiment else "reads back as another one", True


def _fault_of_words(problems: list[str], path: Path, value: Any) -> str:
    if not problems or len({*problems}) < len(problems):
        return f"expected each problem once, received {problems}"
    for problem in problems:
        if not problem.startswith(str(path.parent)) or not problem.isprintable():
            return f"expected one printable line with its file, received {problem!r}"
        if any(word in problem for word in WORDS_OF_OTHERS):
            return f"expected plain words, received {problem}"
    return ""


def shipped(folder: Path) -> dict[str, Any]:
    """Copies the shipped configurations into a folder; returns their trees, as written and with what they extend."""
    shutil.copytree(CONFIGS, folder, dirs_exist_ok=True)
    paths = sorted(folder.glob("*.yaml"))
    written = {path.name: tree(read_document(path).value) for path in paths}
    return written | {f"{path.name}, in full": tree(read_with_bases(path).value) for path in paths}


def check_damaged(folder: Path, *, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Loads so many damaged configurations; returns how many loaded and were refused, and what went wrong."""
    rng, trees = random.Random(seed), shipped(folder)
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    for number in range(count):
        name = [*trees][number % len(trees)]
        value = damaged(trees[name], rng)
        start = time.perf_counter()
        fault, loads = fault_of(folder / "damaged.yaml", value)
        outcomes["slowest, ms"] = max(outcomes["slowest, ms"], round(1000 * (time.perf_counter() - start)))
        outcomes["loaded" if loads else "refused"] += 1
        outcomes["with an unknown key"] += bool(unknown_keys(value))
        outcomes["with a key twice"] += bool(repeated_keys(value))
        if fault:
            faults.append(f"{name}, number {number}: {fault}\n{text_of(value)}")
    return outcomes, faults


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(asked.count)
    with tempfile.TemporaryDirectory() as folder:
        outcomes, faults = check_damaged(Path(folder), count=asked.count, seed=asked.seed)
    print(f"{asked.count} damaged configurations: {', '.join(f'{key}: {value}' for key, value in outcomes.items())}")
    print(*faults, f"{len(faults)} faults", sep="\n")
    return bool(faults)


def _too_slow(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError("more than a second a configuration")


if __name__ == "__main__":
    sys.exit(_main())
