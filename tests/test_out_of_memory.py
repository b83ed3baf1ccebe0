"""An allocator that refuses: one message, whoever says it, and the last save as it was."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab import checkpoint
from cvlab.errors import TrainingError
from cvlab.out_of_memory import is_refusal, refusals_named, what_was_refused
from cvlab.run_folder import RunFolder, read_json
from tests.experiment_fixture import CONFIG, write_toy

OF_TENSORFLOW = (
    "Graph execution error:\n\nDetected at node vgg/conv defined at (most recent call last):\n"
    "OOM when allocating tensor with shape[512,64,64,64] and type float on /job:localhost/device:CPU:0 by allocator cpu"
)


def test_numpy_is_named() -> None:
    said = r"^Too large: Unable to allocate .* for an array with shape .* Go on\.$"
    with pytest.raises(TrainingError, match=said), refusals_named(lambda: "Too large: {refused}. Go on."):
        np.ones((1 << 30, 1 << 20))


def test_what_has_nothing_to_do_with_memory_is_left_alone() -> None:
    with pytest.raises(ValueError, match="OOM when allocating is only talked of"), refusals_named(lambda: "{refused}"):
        raise ValueError("OOM when allocating is only talked of")


def test_the_tensor_is_named_with_its_size() -> None:
    assert what_was_refused(RuntimeError(OF_TENSORFLOW)) == (
        "a tensor of shape [512, 64, 64, 64] (float, 537 MB) was refused"
    )
    jax = "RESOURCE_EXHAUSTED: Out of memory allocating 40000000000000 bytes."
    assert what_was_refused(RuntimeError(f"something else\n{jax}\nmore")) == jax
    assert len(what_was_refused(RuntimeError("OOM when allocating " + "x" * 1000))) == 160
    assert what_was_refused(MemoryError()) == "MemoryError"


@pytest.mark.tensorflow
def test_a_network_that_no_memory_holds(tmp_path: Path) -> None:
    from cvlab.experiment import train
    from tests.test_experiment import request

    config = write_toy(tmp_path)
    with pytest.raises(TrainingError, match=r"for the weights of this network: a tensor of shape \[\d+, 900000000\]"):
        train(config, ["model.dense_units=[900000000]"], request(), sample=False, parent=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.tensorflow
def test_tensorflow_refuses_a_tensor_of_many_terabytes() -> None:
    import tensorflow as tf

    with pytest.raises(Exception, match="OOM when allocating") as refused:
        tf.zeros((1 << 20, 1 << 22)) + 1.0
    assert is_refusal(refused.value)
    assert what_was_refused(refused.value).endswith("(float, 17,592.2 GB) was refused")


@pytest.mark.slow
def test_jax_refuses_an_array_of_many_terabytes() -> None:
    pytest.importorskip("jax")
    code = (
        "import jax.numpy as jnp\nfrom cvlab.out_of_memory import is_refusal, what_was_refused\n"
        "try:\n    jnp.ones((1 << 20, 1 << 23)).block_until_ready()\n"
        "except Exception as error:\n    print(is_refusal(error), what_was_refused(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True RESOURCE_EXHAUSTED"), done


@pytest.fixture
def refused(tmp_path: Path) -> tuple[RunFolder, str, dict[str, Any]]:
    """A run whose second stage has a batch that the system refuses, what it said, and the state before that stage."""
    config = write_toy(tmp_path, identities=40)
    text = CONFIG.replace("DATA", str(tmp_path / "data")).replace("[32, 32]", "[128, 128]")
    text = text.replace("batch_size: 4", "batch_size: 64").replace("width: 0.25", "width: 0.125")
    wide = "batch_size: 900, data: {expand: [identity, flip, rot90, rot180, rot270]}, augment: []"
    config.write_text(f"{text}  - {{name: wide, epochs: 1, learning_rate: 1e-3, {wide}}}\n")
    words = [sys.executable, "-m", "cvlab", "train", "toy.yaml", "--run-dir", "runs"]
    with subprocess.Popen(
        words, cwd=tmp_path, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        run = _after_first_save(tmp_path, process)
        used = re.search(r"VmSize:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        assert used
        # Room for the steps of the first stage, not for the scaled images of a batch of the second, 177 MB.
        limit = int(used[1]) * 1024 + 120_000_000
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    return run, output, checkpoint.read_state(run.last)["training"]


def _after_first_save(folder: Path, process: subprocess.Popen[str]) -> RunFolder:
    deadline = time.monotonic() + 120
    while not (found := [*folder.glob("runs/toy/*/metrics.jsonl")]):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return RunFolder.open(found[0].parent)


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the memory of a running process is limited on Linux only")
def test_a_batch_that_is_refused_ends_in_one_message(refused: tuple[RunFolder, str, dict[str, Any]]) -> None:
    run, output, state = refused
    message = output[output.index("cvlab: ") :]
    assert "Traceback" not in output
    assert (
        "There is not enough memory on this CPU for stage 'wide' with batches of 900 images of 128 x 128: " in message
    )
    assert f"where there is more memory: cvlab train --resume {run.path}." in message
    assert message.strip().endswith(f"start anew: cvlab train {run.config} stages.1.batch_size=450")
    status = read_json(run.status)
    assert (status["status"], status["stage"], status["epoch"]) == ("failed", "train", 2)
    assert status["reason"] == message.removeprefix("cvlab: ").strip()
    # The last save is that of the stage before, whole.
    assert (state["stage"], state["epoch"], state["ended"]) == (0, 2, "all epochs done")
    assert [json.loads(line)["epoch"] for line in run.history.read_text().splitlines()] == [1, 2]
    assert checkpoint.load_model(run.last).count_params() == read_json(run.model)["total"]
