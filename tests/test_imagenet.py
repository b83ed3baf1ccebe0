"""Files of ImageNet weights: verified in Keras' cache and never touched there, or downloaded whole or not at all."""

from __future__ import annotations

import gc
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cvlab.errors import ConfigError
from cvlab.models import backbones
from cvlab.models.backbones import NETWORKS
from cvlab.models.imagenet import cache_folder, imagenet_file
from tests.weights_fixture import in_cache, toy_backbone

SIZE = (64, 64)
VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder


def refused(network: str = "VGG16") -> str:
    with pytest.raises(ConfigError) as caught:
        imagenet_file(network, SIZE)
    (problem,) = caught.value.problems
    return problem


def test_a_verified_file_is_taken_from_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cache / VGG16
    file.write_bytes(b"published")
    in_cache("VGG16", file, monkeypatch)
    assert imagenet_file("VGG16", SIZE) == file
    digest = hashlib.sha256(b"published").hexdigest()
    monkeypatch.setitem(NETWORKS, "VGG16", replace(NETWORKS["VGG16"], digest=digest))
    assert imagenet_file("VGG16", SIZE) == file


def test_another_file_in_the_cache_is_refused_and_left_as_it_is(cache: Path) -> None:
    file = cache / VGG16
    file.write_bytes(b"cut short")
    said = refused()
    assert said.startswith(f"model.weights: {file}: is not the file that Keras publishes (expected the md5 hash 6d6bb")
    assert f"received {hashlib.md5(b'cut short').hexdigest()}" in said
    assert "It was left as it is." in said
    assert file.read_bytes() == b"cut short"
    assert [*cache.iterdir()] == [file]


def test_the_cache_is_that_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", "~/k")
    assert cache_folder() == Path.home() / "k" / "models"
    monkeypatch.delenv("KERAS_HOME")
    assert cache_folder() == Path.home() / ".keras" / "models"


def test_the_mobilenets_have_weights_for_several_sizes() -> None:
    names = {
        size: NETWORKS["MobileNetV2"].imagenet(size).name for size in ((128, 128), (224, 224), (128, 160), (300, 300))
    }
    assert [re.findall(r"1\.0_(\d+)_no_top", name) for name in names.values()] == [["128"], ["224"], ["224"], ["224"]]


@dataclass
class Published:
    """What a server on this machine publishes in place of Keras'."""

    content: bytes
    length: int
    asked: list[str]


@pytest.fixture
def published(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    """Serves a weight file of VGG16 over HTTP; the table names the server and the hash of the file."""
    toy_backbone().save_weights(tmp_path / "w.weights.h5")
    content = (tmp_path / "w.weights.h5").read_bytes()
    publishing = Published(content, len(content), [])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publishing.asked.append(self.path)
            if not self.path.endswith("notop.h5"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(publishing.length))
            self.end_headers()
            self.wfile.write(publishing.content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(backbones, "STORAGE", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setitem(NETWORKS, "VGG16", replace(NETWORKS["VGG16"], digest=hashlib.md5(content).hexdigest()))
    yield publishing
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.tensorflow
def test_a_file_that_is_not_there_is_downloaded_once(cache: Path, published: Published) -> None:
    for _ in range(2):
        path = imagenet_file("VGG16", SIZE)
        assert path == cache / VGG16
        assert path.read_bytes() == published.content
    assert published.asked == [f"/tensorflow/keras-applications/vgg16/{VGG16}"]
    assert [*cache.iterdir()] == [path]


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", ["other file", "cut short", "gone", "no server", "no weights"])
def test_a_download_that_fails_leaves_nothing_behind(
    fault: str, cache: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = NETWORKS["VGG16"]
    if fault == "other file":
        published.content = published.content[:-1] + b"x"
    elif fault == "cut short":
        published.content = published.content[:1000]
    elif fault == "gone":
        monkeypatch.setitem(NETWORKS, "VGG16", replace(row, folder="elsewhere", remote="gone.h5"))
    elif fault == "no server":
        monkeypatch.setattr(backbones, "STORAGE", "http://127.0.0.1:9/")
    else:
        published.content = b"<html>Please log in.</html>"
        published.length = len(published.content)
        monkeypatch.setitem(NETWORKS, "VGG16", replace(row, digest=None))
    said = refused()
    url = NETWORKS["VGG16"].imagenet(SIZE).url
    assert said.startswith("model.weights: the ImageNet weights of VGG16 are not in Keras' cache and cannot be down")
    assert f"Get {url} elsewhere and put it there as {cache / VGG16}" in said
    assert "model.weights=PATH" in said
    assert [*cache.iterdir()] == []
    gc.collect()  # Keras leaves the connection to Python's garbage collection, which warns of it.


@pytest.mark.tensorflow
def test_a_cache_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keras").write_text("a file")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert str(tmp_path / "keras" / "models" / VGG16) in refused()
    assert (tmp_path / "keras").read_text() == "a file"
