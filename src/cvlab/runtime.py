"""The machine: TensorFlow started quietly, the device chosen, precision and determinism set."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cvlab.config_messages import one_of
from cvlab.config_values import Precision
from cvlab.errors import ConfigError, counted

BACKENDS = ("tensorflow", "jax")
JAX_DETERMINISM = "--xla_gpu_deterministic_ops=true"
PACKAGES = ("cvlab", "tensorflow", "keras", "numpy", "scikit-learn", "albumentations", "pillow", "matplotlib")


@dataclass(frozen=True)
class Machine:
    """What a run runs on."""

    device: str
    gpu: int | None
    precision: str
    backend: str

    @property
    def jit_compile(self) -> bool | str:
        """What to give Keras' `compile`: XLA is slower than none on a CPU, and JAX needs it."""
        return "auto" if self.backend == "jax" or self.gpu is not None else False


def start(*, device: str, precision: Precision, seed: int, deterministic: bool, verbose: bool) -> Machine:
    """Imports TensorFlow and Keras and sets device, precision, seed and determinism for this process.

    `precision: auto` is mixed_bfloat16 on a GPU of compute capability 8.0 or more and on a CPU with AMX or AVX512
    bfloat16 instructions, mixed_float16 on a GPU of capability 7.x, and float32 elsewhere. Under JAX it is float32 on
    every CPU.

    Args:
        device: `auto` (the first GPU if there is one), `cpu`, `gpu` or `gpu:N`.
        precision: The precision, or `auto`.
        seed: Seeds weights, dropout and everything else that is random in the network.
        deterministic: Whether the same seed gives the same bits (on one kind of machine).
        verbose: Whether TensorFlow may print its own messages.

    Raises:
        ConfigError: The device or the backend is not there.
    """
    _prepare_backend(deterministic=deterministic)
    with quiet(verbose=verbose):
        import keras
        import tensorflow as tf

        if not verbose:
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
        # Names of layers count up in a process; a second run in it is to have those of the first.
        keras.utils.clear_session()
        backend = keras.backend.backend()
        gpu = _choose_gpu(tf, device) if backend == "tensorflow" else _leave_to_backend(tf, device, backend)
        keras.utils.set_random_seed(seed)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        resolved = _resolve_precision(tf, precision, gpu, backend)
        keras.config.set_dtype_policy(resolved)
        name = _device_name(tf, gpu, backend)
    return Machine(device=name, gpu=gpu, precision=resolved, backend=backend)


@contextmanager
def quiet(*, verbose: bool) -> Iterator[None]:
    """Keeps TensorFlow's start-up messages (which its C++ code writes) from the terminal."""
    if verbose:
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _prepare_backend(*, deterministic: bool) -> None:
    """Refuses a backend that cannot be used (Keras would end in a traceback) and sets what JAX reads at its start."""
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in BACKENDS:
        raise ConfigError([f"KERAS_BACKEND: {one_of(BACKENDS, backend)}."])
    if find_spec(backend) is None:
        raise ConfigError([f"KERAS_BACKEND: '{backend}' is not installed; pip install 'cvlab[{backend}]'."])
    flags = os.environ.get("XLA_FLAGS", "")
    if backend == "jax" and deterministic and JAX_DETERMINISM not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {JAX_DETERMINISM}".strip()


def _choose_gpu(tf: Any, device: str) -> int | None:
    gpus = tf.config.list_physical_devices("GPU")
    wanted = int(device.split(":")[1]) if ":" in device else 0
    if device == "cpu" or (device == "auto" and not gpus):
        tf.config.set_visible_devices([], "GPU")
        return None
    if wanted >= len(gpus):
        seen = f"TensorFlow sees {counted(len(gpus), 'GPU')}" if gpus else "TensorFlow sees no GPU"
        hint = "use 'auto' or 'cpu', or install the GPU libraries: pip install 'cvlab[cuda]'"
        raise ConfigError([f"train.device: {seen}, received '{device}'; {hint}."])
    tf.config.set_visible_devices(gpus[wanted], "GPU")
    tf.config.experimental.set_memory_growth(gpus[wanted], True)
    return wanted


def _leave_to_backend(tf: Any, device: str, backend: str) -> int | None:
    """Keeps TensorFlow, which then only prepares the images, off the GPU that another backend uses."""
    if device != "auto":
        raise ConfigError(
            [f"train.device: the {backend} backend chooses its device; expected 'auto', received '{device}'."]
        )
    tf.config.set_visible_devices([], "GPU")
    return None


def _device_name(tf: Any, gpu: int | None, backend: str) -> str:
    if backend == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    return "CPU" if gpu is None else f"GPU {gpu} ({_gpu_details(tf).get('device_name', 'unknown')})"


def _gpu_details(tf: Any) -> dict[str, Any]:
    return dict(tf.config.experimental.get_device_details(tf.config.get_visible_devices("GPU")[0]))


def _resolve_precision(tf: Any, precision: Precision, gpu: int | None, backend: str) -> str:
    if precision != "auto":
        return precision
    if backend == "jax":
        return _jax_precision()
    if gpu is None:
        return "mixed_bfloat16" if _cpu_has_bfloat16() else "float32"
    return _gpu_precision(_gpu_details(tf).get("compute_capability", (0, 0))[0])


def _gpu_precision(major_capability: int) -> str:
    return "mixed_bfloat16" if major_capability >= 8 else "mixed_float16" if major_capability == 7 else "float32"


def _jax_precision() -> str:
    """The rule for the device that JAX has chosen; on a CPU, bfloat16 does not make JAX faster."""
    import jax

    device = jax.devices()[0]
    if device.platform in ("cpu", "tpu"):
        return "float32" if device.platform == "cpu" else "mixed_bfloat16"
    # "9.0", for example; a GPU that is not NVIDIA's has a name here, or nothing.
    major = str(getattr(device, "compute_capability", "")).partition(".")[0]
    return _gpu_precision(int(major) if major.isdecimal() else 0)


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices itself (as Linux tells; elsewhere the answer is no)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def describe(machine: Machine, *, seed: int, deterministic: bool, command: list[str]) -> dict[str, Any]:
    """Returns what `environment.json` of a run holds."""
    return {
        "command": command,
        **asdict(machine),
        "seed": seed,
        "deterministic": deterministic,
        **provenance(PACKAGES if machine.backend == "tensorflow" else (*PACKAGES, machine.backend)),
    }


def provenance(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Returns what a result came from, besides the machine's device: Python, system, versions and commit."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in packages},
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """The commit of the working directory and whether it has uncommitted changes; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}
