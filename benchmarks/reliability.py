"""Everything that docs/reliability.md and docs/security.md say was measured, in one go: about 40 minutes on 2 cores.

Run: python -m benchmarks.reliability
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

LONG = {
    "kill_and_resume": ["--kills", "100"],
    "many_at_once": ["--processes", "8"],
    "long_training": ["--epochs", "200"],
    "mutated_configs": ["--count", "5000"],
    "damaged_images": ["--places", "200"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=LONG, default=list(LONG))
    for name in parser.parse_args().only:
        words = [f"tests.faults.{name}", *LONG[name]]
        print(f"$ python -m {' '.join(words)}", flush=True)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", *words], check=True)
        print(f"{time.perf_counter() - start:,.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
