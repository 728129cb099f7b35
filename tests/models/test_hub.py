"""Fetching a codec, from a hub of our own on this machine.

The client of the hub settles at import whether it may go online, and where; so all of it happens in a process
that is started for it, and the tests look at what it tells. It loads no network: that is done in this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import pytest
import torch

from napari_latentseg.codecs.origin import commit_of
from napari_latentseg.models import codec_lookup, store
from napari_latentseg.models.hub import cached_snapshot

COMMIT = hashlib.sha1(b"the commit").hexdigest()
WEIGHTS = "diffusion_pytorch_model.safetensors"


class Hub(BaseHTTPRequestHandler):
    """What the client asks of the hub: the commit of a revision, its files, and each of them."""

    protocol_version = "HTTP/1.1"
    repositories: ClassVar[dict[str, dict[str, bytes]]] = {}
    broken: ClassVar[set[str]] = set()
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/asked":  # ours, to see what was asked so far
            self._send(200, json.dumps(self.asked).encode())
            return
        self.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        owner, name, *rest = parts[2:] if is_api else parts
        files = self.repositories.get(f"{owner}/{name}")
        if files is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif len(rest) > 1 and rest[1] not in ("main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif is_api and rest and rest[0] == "tree":
            self._send(200, json.dumps([self._entry(n, c) for n, c in files.items()]).encode())
        elif is_api:
            siblings = [{"rfilename": n} for n in files]
            about = {
                "id": f"{owner}/{name}",
                "modelId": f"{owner}/{name}",
                "sha": COMMIT,
                "siblings": siblings,
            }
            self._send(200, json.dumps(about).encode())
        else:
            file = "/".join(rest[2:])
            self._send_file(files[file], is_broken=f"{owner}/{name}/{file}" in self.broken)

    def _entry(self, name: str, content: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
        if name.endswith(".safetensors"):
            oid = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
        return entry

    def _send_file(self, content: bytes, *, is_broken: bool) -> None:
        is_large = content[:1] != b"{"
        headers = {"X-Repo-Commit": COMMIT, "Content-Type": "application/octet-stream"}
        if is_large:
            headers["X-Linked-ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            headers["X-Linked-Size"] = str(len(content))
        headers["ETag"] = f'"{git_hash(content)}"'
        self._send(200, content[::-1] if is_broken else content, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


STEPS = """
import json, sys, urllib.request
from pathlib import Path
from napari_latentseg.errors import BadInput
from napari_latentseg.models import hub, store

told = {}

def asked():
    with urllib.request.urlopen(sys.argv[1] + "/asked") as answer:
        return json.load(answer)

def tell(name, do):
    try:
        found = do()
    except BadInput as error:
        found = {"what": error.what, "why": error.why, "remedy": error.remedy}
    told[name] = found

tell("without leave", lambda: store.open_codec("lab/tiny"))
tell("not cached", lambda: hub.cached_snapshot("lab/tiny"))
told["requests before"] = asked()
tell("downloaded", lambda: str(hub.download_codec("lab/tiny")))
told["requests"] = asked()
tell("found again", lambda: str(store.codec_folder("lab/tiny")))
tell("another revision", lambda: store.codec_folder("lab/tiny", "0" * 40))
told["requests after"] = asked()
told["files"] = sorted(p.name for p in Path(told["downloaded"]).iterdir())
tell("pinned", lambda: str(hub.download_codec("lab/pipeline", sys.argv[2])))
tell("pinned, by commit", lambda: str(store.codec_folder("lab/pipeline", sys.argv[2])))
tell("pinned, by branch", lambda: hub.cached_snapshot("lab/pipeline"))
tell("unknown revision", lambda: hub.download_codec("lab/tiny", "v9"))
tell("unknown", lambda: store.open_codec("lab/nothing", download=True))
tell("no name", lambda: hub.download_codec("lab/no/such"))
tell("pickles only", lambda: hub.download_codec("lab/pickles"))
tell("damaged", lambda: hub.download_codec("lab/damaged"))
told["heavy"] = sorted({"torch", "diffusers"} & set(sys.modules))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the process told, step by step."""
    files = {"config.json": b"{}", WEIGHTS: bytes(range(256)) * 300}
    Hub.repositories = {
        "lab/tiny": files | {"README.md": b"{} words", "diffusion_pytorch_model.bin": b"pickle"},
        "lab/pipeline": {f"vae/{name}": content for name, content in files.items()}
        | {"model_index.json": b"{}", "unet/config.json": b"{}"},
        "lab/pickles": {"config.json": files["config.json"], "diffusion_pytorch_model.bin": b"pickle"},
        "lab/damaged": files,
    }
    Hub.broken = {f"lab/damaged/{WEIGHTS}"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield run(f"http://127.0.0.1:{server.server_port}", STEPS, tmp_path_factory.mktemp("home"))
    finally:
        server.shutdown()
        server.server_close()


def run(endpoint: str, steps: str, home: Path) -> dict[str, Any]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HF_") and not name.lower().endswith("_proxy")
    }
    clean |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NAPARI_LATENTSEG_HOME": str(home / "installed"),
    }
    done = subprocess.run(
        [sys.executable, "-c", steps, endpoint, COMMIT],
        env=clean, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_nothing_is_asked_without_leave(told: dict[str, Any]) -> None:
    assert told["without leave"]["what"] == "codec"
    assert "lab/tiny is not on this machine" in told["without leave"]["why"]
    assert "--download" in told["without leave"]["remedy"]
    assert told["not cached"] is None
    assert told["requests before"] == []


def test_only_settings_and_safetensors_are_fetched(told: dict[str, Any]) -> None:
    assert told["files"] == ["config.json", WEIGHTS]
    assert told["requests"]
    assert not [line for line in told["requests"] if "README" in line or ".bin" in line]


def test_what_was_fetched_is_found_without_asking(told: dict[str, Any]) -> None:
    assert Path(told["downloaded"]).name == COMMIT
    assert told["found again"] == told["downloaded"]
    assert told["requests after"] == told["requests"]


def test_a_pinned_commit_is_found_by_that_commit(told: dict[str, Any]) -> None:
    """And in the folder `vae` of a pipeline."""
    assert Path(told["pinned"]).name == COMMIT
    assert told["pinned, by commit"] == told["pinned"]
    assert told["pinned, by branch"] is None


def test_none_of_it_takes_torch(told: dict[str, Any]) -> None:
    assert told["heavy"] == []


REFUSED = {
    "another revision": ("codec", f"lab/tiny (revision {'0' * 40}) is not on this machine"),
    "unknown revision": ("lab/tiny", "has no revision 'v9' on the hub"),
    "unknown": ("lab/nothing", "is not on the hub, or is private"),
    "no name": ("lab/no/such", "is not the name of a repository"),
    "pickles only": ("lab/pickles", "has no autoencoder as safetensors"),
}


@pytest.mark.parametrize(("step", "expected"), REFUSED.items(), ids=REFUSED.keys())
def test_what_cannot_be_had_is_said(told: dict[str, Any], step: str, expected: tuple[str, str]) -> None:
    assert (told[step]["what"], told[step]["why"]) == expected
    assert told[step]["remedy"]


def test_other_bytes_than_the_hub_s_are_refused(told: dict[str, Any]) -> None:
    assert told["damaged"]["what"].endswith(WEIGHTS)
    assert "SHA-256 differs" in told["damaged"]["why"]
    assert "download again" in told["damaged"]["remedy"]


@pytest.mark.parametrize(
    ("offline", "why"),
    [("", "the hub cannot be reached"), ("1", "the hub is switched off (HF_HUB_OFFLINE is set)")],
)
def test_a_hub_that_cannot_be_reached(tmp_path: Path, offline: str, why: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        closed = f"http://127.0.0.1:{server.server_port}"  # nobody listens there once this ends
    steps = f"""
import json, os
os.environ["HF_HUB_OFFLINE"] = "{offline}"
from napari_latentseg.errors import BadInput
from napari_latentseg.models.hub import download_codec
try:
    download_codec("lab/tiny")
except BadInput as error:
    print(json.dumps([error.what, error.why, error.remedy, str(error)]))
"""
    what, found, remedy, line = run(closed, steps, tmp_path)
    assert (what, found) == ("lab/tiny", why)
    assert "--codec" in remedy
    assert line.count("\n") == 0


# --- without a network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lab-codec", "a/b/c", "/tmp/nowhere", "lab/..", "lab/ tiny"])
def test_what_is_no_repository_is_not_in_the_cache(name: str) -> None:
    assert cached_snapshot(name) is None


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (f"models--lab--tiny/snapshots/{COMMIT}", COMMIT),
        ("models--lab--tiny/snapshots/main", ""),
        (f"codecs/{COMMIT}", ""),
    ],
)
def test_the_commit_of_a_snapshot(folder: str, expected: str) -> None:
    assert commit_of(Path(folder)) == expected


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with the commit of one repository; gives its folder, still empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "none"))
    repository = tmp_path / "models--lab--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


@pytest.mark.parametrize("inside", ["", "vae"])
def test_half_a_snapshot_is_none(cache: Path, inside: str) -> None:
    (cache / inside).mkdir(exist_ok=True)
    for name in ("config.json", WEIGHTS):
        assert cached_snapshot("lab/tiny") is None
        (cache / inside / name).write_bytes(b"{}")
    assert cached_snapshot("lab/tiny") == cache


def test_a_codec_in_the_cache_is_opened_and_named_with_its_commit(cache: Path) -> None:
    import diffusers

    diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
        scaling_factor=0.5,
    ).save_pretrained(cache)
    codec, spec = store.open_codec("lab/tiny", download=True)  # may ask, but need not
    assert (spec.kind, spec.name, spec.channels, spec.scale) == ("tiny", "lab/tiny", 4, 0.5)
    assert spec.revision == COMMIT
    assert spec.sha256 == hashlib.sha256((cache / WEIGHTS).read_bytes()).hexdigest()
    (cache.parents[1] / "refs" / "main").write_text("0" * 40)  # the repository has moved on
    again = store.codec_for(spec)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in codec.state_dict().items())
    codec_lookup._load_cached.cache_clear()
