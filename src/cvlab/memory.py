"""The memory of this machine and of this process, as Linux tells: what is left, what was used, who was killed for it.

A memory group is a control group (cgroup), which containers, batch systems and systemd use to limit memory.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvlab.errors import counted

SYSTEM = Path("/")
MACHINE = "machine"
GROUPS = Path("sys/fs/cgroup")
# What version 1 shows where there is no limit is near 2^63.
NO_LIMIT = 1 << 60
# From which share of the limit on a process was near it; the last save does not see the peak of what came after.
NEAR = 0.8


@dataclass(frozen=True)
class Room:
    """How much memory there is.

    Attributes:
        available: Bytes that can still be used.
        total: Bytes that there are at most.
        limit: What sets the limit, in words.
    """

    available: int
    total: int
    limit: str


@dataclass(frozen=True)
class _Group:
    """A memory group; the files of version 1 and 2 have other names."""

    folder: Path
    version: int

    @property
    def limit(self) -> int | None:
        value = _number(self.folder / ("memory.limit_in_bytes" if self.version == 1 else "memory.max"))
        return None if value is None or value >= NO_LIMIT else value

    @property
    def used(self) -> int:
        """Bytes in use, less cached files, which the system gives up when it needs the room."""
        used = _number(self.folder / ("memory.usage_in_bytes" if self.version == 1 else "memory.current")) or 0
        cached = _fields(self.folder / "memory.stat")
        prefix = "total_" if self.version == 1 else ""
        return max(0, used - sum(cached.get(f"{prefix}{name}", 0) for name in ("inactive_file", "active_file")))

    @property
    def kills(self) -> int | None:
        """How many of its processes the system has killed for lack of memory."""
        return _fields(self.folder / ("memory.oom_control" if self.version == 1 else "memory.events")).get("oom_kill")


def room(system: Path = SYSTEM) -> Room | None:
    """Returns how much memory this process can use; None where the system does not tell.

    Args:
        system: The folder that holds `proc` and `sys`.
    """
    machine = _fields(system / "proc/meminfo")
    rooms = [Room(group.limit - group.used, group.limit, "memory group") for group in _groups(system) if group.limit]
    if "MemTotal" in machine:
        free = machine.get("MemAvailable", machine.get("MemFree", 0))
        rooms.append(Room(free * 1024, machine["MemTotal"] * 1024, MACHINE))
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        used = _fields(system / "proc/self/status").get("VmSize", 0) * 1024
        rooms.append(Room(max(0, limit - used), limit, "process (ulimit -v)"))
    return min(rooms, key=lambda found: found.available) if rooms else None


def peak() -> int:
    """Returns the most memory that this process has held so far, in bytes (its resident set)."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def record(system: Path = SYSTEM) -> dict[str, Any]:
    """Returns what `status.json` keeps, so that a later command can tell whether this process was killed for memory."""
    totals = [group.limit for group in _groups(system) if group.limit]
    if total := _fields(system / "proc/meminfo").get("MemTotal"):
        totals.append(total * 1024)
    return {
        "peak_bytes": peak(),
        "limit_bytes": min(totals, default=None),
        "kills": dict(_kills(system)),
        "boot": _boot(system),
    }


def evidence(recorded: Mapping[str, Any], system: Path = SYSTEM) -> list[str]:
    """Returns what speaks for it that the process which left `recorded` was killed for memory; empty for nothing.

    Args:
        recorded: What `record` returned when the process last saved.
        system: The folder that holds `proc` and `sys`.
    """
    found: list[str] = []
    if not was_restarted(recorded, system):
        found += _kills_since(recorded.get("kills") or {}, system)
    used, limit = recorded.get("peak_bytes"), recorded.get("limit_bytes")
    if used and limit and used >= NEAR * limit:
        found.append(f"it had used up to {gigabytes(used)} of the {gigabytes(limit)} that there were")
    return found


def was_restarted(recorded: Mapping[str, Any], system: Path = SYSTEM) -> bool:
    """Whether the machine was started anew since `recorded`."""
    before, now = recorded.get("boot"), _boot(system)
    return bool(before and now and before != now)


def gigabytes(size: float) -> str:
    """Returns a number of bytes for people: `2.3 GB`, or `45 MB` and `0.2 MB` where it is less."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.{0 if size >= 1e7 else 1}f} MB"


def sacrifice_this_process() -> None:
    """Asks the system to kill this process first where memory runs out, before other programs of the user."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    except OSError:
        return


def _kills_since(before: Mapping[str, int], system: Path) -> Iterator[str]:
    """What the counters say; that of the machine only where no group of the process has counted."""
    groups = {name: count for name, count in before.items() if _is_group(name, system)}
    for name, count in groups.items():
        found = [_Group(Path(name), version).kills or 0 for version in (1, 2)]
        if (more := max(found, default=0) - count) > 0:
            yield f"the system has killed {_processes(more)} in its memory group ({name})"
            return
    more = dict(_kills(system)).get(MACHINE, 0) - before.get(MACHINE, 0)
    if MACHINE in before and more > 0:
        yield f"the system has killed {_processes(more)} on this machine"


def _is_group(name: str, system: Path) -> bool:
    """Whether a recorded name, which anybody may have written, is that of a memory group and of no other folder."""
    return ".." not in Path(name).parts and Path(name).is_relative_to(system / GROUPS)


def _processes(count: int) -> str:
    return f"{counted(count, 'process', 'processes')} for lack of memory"


def _kills(system: Path) -> Iterator[tuple[str, int]]:
    """The counters of the process's memory groups, and of the machine."""
    for group in _groups(system):
        if (kills := group.kills) is not None:
            yield str(group.folder), kills
    if (kills := _fields(system / "proc/vmstat").get("oom_kill")) is not None:
        yield MACHINE, kills


def _groups(system: Path) -> Iterator[_Group]:
    """The memory groups that this process is in, the innermost first."""
    for line in _text(system / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            version, mount = 2, system / GROUPS
        elif "memory" in controllers.split(","):
            version, mount = 1, system / GROUPS / "memory"
        else:
            continue
        folder = mount / path.strip("/")
        # In a container the path may be that outside of it; what is mounted is then its own group.
        folder = folder if folder.is_dir() else mount
        yield from (_Group(part, version) for part in (folder, *folder.parents) if part.is_relative_to(mount))


def _boot(system: Path) -> str | None:
    return _text(system / "proc/sys/kernel/random/boot_id").strip() or None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """Reads lines of a name and a number (`oom_kill 3`, `MemTotal: 1024 kB`)."""
    rows = [line.split() for line in _text(path).splitlines()]
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
