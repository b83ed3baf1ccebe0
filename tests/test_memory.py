"""What the system tells of memory: version 1 and 2 of memory groups, the machine, counters of killed processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cvlab import memory

GB = 10**9


def system(
    folder: Path, files: dict[str, object], *, total_kb: int = 16_000_000, available_kb: int = 9_000_000
) -> Path:
    """A folder with what `/proc` and `/sys` would hold."""
    common = {
        "proc/meminfo": f"MemTotal: {total_kb} kB\nMemFree: 1 kB\nMemAvailable: {available_kb} kB\nHugePages: 0\n",
        "proc/sys/kernel/random/boot_id": "first\n",
        "proc/vmstat": "nr_free_pages 5\noom_kill 2\n",
    }
    for name, text in (common | files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return folder


def version_2(path: str, *, limit: object, used: int, kills: int) -> dict[str, object]:
    folder = f"sys/fs/cgroup/{path}"
    return {
        f"{folder}/memory.max": limit,
        f"{folder}/memory.current": used,
        f"{folder}/memory.stat": "anon 1\ninactive_file 1000\nactive_file 500\n",
        f"{folder}/memory.events": f"low 0\nhigh 0\nmax 3\noom 1\noom_kill {kills}\noom_group_kill 0\n",
    }


def version_1(path: str, *, limit: int, used: int, kills: int) -> dict[str, object]:
    folder = f"sys/fs/cgroup/memory/{path}"
    return {
        f"{folder}/memory.limit_in_bytes": limit,
        f"{folder}/memory.usage_in_bytes": used,
        f"{folder}/memory.stat": "total_inactive_file 1000\ntotal_active_file 500\ninactive_file 7\n",
        f"{folder}/memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n",
    }


def test_the_machine_alone(tmp_path: Path) -> None:
    found = memory.room(system(tmp_path, {}))
    assert found == memory.Room(9_000_000 * 1024, 16_000_000 * 1024, "machine")


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert memory.room(tmp_path) is None
    recorded = memory.record(tmp_path)
    assert (recorded["limit_bytes"], recorded["kills"], recorded["boot"]) == (None, {}, None)
    assert memory.evidence(recorded, tmp_path) == []
    assert not memory.was_restarted(recorded, tmp_path)


def test_the_narrowest_memory_group_counts_less_its_cached_files(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/user/job\n",
        **version_2("user/job", limit="max", used=3 * GB, kills=0),
        **version_2("user", limit=4 * GB, used=3 * GB, kills=0),
    }
    assert memory.room(system(tmp_path, files)) == memory.Room(GB + 1500, 4 * GB, "memory group")


def test_version_1_and_its_number_for_no_limit(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/batch/job 1\n0::/\n",
        **version_1("batch/job 1", limit=9223372036854771712, used=GB, kills=0),
        **version_1("batch", limit=2 * GB, used=GB, kills=0),
    }
    assert memory.room(system(tmp_path, files)) == memory.Room(GB + 1500, 2 * GB, "memory group")


def test_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/outside/of/it\n", **version_2(".", limit=2 * GB, used=GB, kills=0)}
    assert memory.room(system(tmp_path, files)) == memory.Room(GB + 1500, 2 * GB, "memory group")


def test_a_limit_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (5 * GB, 5 * GB))
    found = memory.room(system(tmp_path, {"proc/self/status": "Name: x\nVmSize: 1000000 kB\n"}))
    assert found == memory.Room(5 * GB - 1_024_000_000, 5 * GB, "process (ulimit -v)")


@pytest.mark.parametrize(("version", "line"), [(version_1, "4:memory:/job\n"), (version_2, "0::/job\n")])
def test_a_process_that_was_killed_in_its_group(tmp_path: Path, version: object, line: str) -> None:
    assert callable(version)
    # Far more than this process has ever used, whatever was tested in it before.
    files = {"proc/self/cgroup": line, **version("job", limit=900 * GB, used=GB, kills=1)}
    recorded = memory.record(system(tmp_path, files))
    assert memory.evidence(recorded, tmp_path) == []
    system(tmp_path, version("job", limit=900 * GB, used=GB, kills=2))
    (text,) = memory.evidence(recorded, tmp_path)
    group = "memory/job" if version is version_1 else "job"
    assert text == (
        f"the system has killed 1 process for lack of memory in its memory group ({tmp_path}/sys/fs/cgroup/{group})"
    )


def test_a_group_that_is_gone_leaves_the_count_of_the_machine(tmp_path: Path) -> None:
    recorded = memory.record(system(tmp_path, {}))
    recorded["kills"][f"{tmp_path}/sys/fs/cgroup/gone.scope"] = 0
    system(tmp_path, {"proc/vmstat": "oom_kill 5\n"})
    assert memory.evidence(recorded, tmp_path) == [
        "the system has killed 3 processes for lack of memory on this machine"
    ]


def test_counts_of_another_start_of_the_machine_say_nothing(tmp_path: Path) -> None:
    recorded = memory.record(system(tmp_path, {}))
    system(tmp_path, {"proc/vmstat": "oom_kill 9\n", "proc/sys/kernel/random/boot_id": "second"})
    assert memory.was_restarted(recorded, tmp_path)
    assert memory.evidence(recorded, tmp_path) == []


@pytest.mark.parametrize(("peak", "said"), [(8 * GB, True), (7 * GB, False)])
def test_a_process_near_its_limit(tmp_path: Path, peak: int, said: bool) -> None:
    recorded = memory.record(system(tmp_path, {})) | {"peak_bytes": peak, "limit_bytes": 10 * GB}
    expected = ["it had used up to 8.0 GB of the 10.0 GB that there were"] if said else []
    assert memory.evidence(recorded, tmp_path) == expected


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak a second time")
def test_the_peak_is_what_the_system_tells_too() -> None:
    block = bytearray(150_000_000)
    block[::4096] = b"x" * len(block[::4096])
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    assert memory.peak() == pytest.approx(int(line.split()[1]) * 1024, rel=0.02)
    assert memory.peak() > len(block)


def test_this_system_can_be_read() -> None:
    found, recorded = memory.room(), memory.record()
    assert found is None or 0 < found.available <= found.total
    assert memory.evidence(recorded | {"peak_bytes": 1}) == []


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="only Linux has it")
def test_a_check_is_what_the_system_kills_first() -> None:
    code = "from cvlab import memory\nmemory.sacrifice_this_process()\nprint(open('/proc/self/oom_score_adj').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1000"


def test_what_a_run_names_as_a_memory_group_is_read_nowhere_else(tmp_path: Path) -> None:
    place = system(tmp_path / "system", {})
    inside = tmp_path / "run"
    inside.mkdir()
    # Reading a pipe would wait for ever.
    os.mkfifo(inside / "memory.oom_control")
    for name in (str(inside), f"{place}/sys/fs/cgroup/../../../../run", "\0", ""):
        assert memory.evidence({"kills": {name: 0}, "boot": "first"}, place) == []
