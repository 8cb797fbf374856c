"""fetch-data against a file server of this machine: resumed, checked, unpacked, refused."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from stages.core.base import cli
from stages.core.data import download as web
from stages.tools import fetch_data

BODY = bytes(range(256)) * 40
SUM = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``files``; breaks off after ``cut`` bytes while ``cuts`` are left; notes requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.cuts, self.tag = {}, 0, 0, '"v1"'
        self.asked = []

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, body = self.server, self.server.files.get(self.path[1:])
        server.asked.append(self.headers.get("Range"))
        if body is None:
            self.send_error(404)
            return
        start, length = 0, len(body)
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start and start >= length:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(length - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        rest = body[start:]
        if server.cuts:
            server.cuts -= 1
            rest = rest[: server.cut]
            self.close_connection = True
        self.wfile.write(rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    served = Server()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def stream(tmp_path):
    """Write a stream of one task with these files; gives its folder."""

    def write(*files):
        content = {
            "name": "things",
            "kind": "open_vqa",
            "source": {"name": "Things", "version": "1", "licence": "CC0"},
            "format": "llava_json",
            "train": {"file": "a.json"},
            "test": {"file": "a.json"},
            "prompt": "{question}",
            "metric": "exact",
            "generation": {"max_new_tokens": 10},
            "files": list(files),
        }
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine/things.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "mine"

    return write


def run(*arguments):
    """Exit code of the command line."""
    try:
        cli.run(fetch_data.main, [str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(*members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_an_interrupted_download_goes_on(server, tmp_path):
    server.files["a.bin"], server.cut, server.cuts = BODY, 1000, 1
    assert web.download(server.url("a.bin"), tmp_path / "a.bin", len(BODY), SUM) == SUM
    assert server.asked == [None, "bytes=1000-"]
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert names(tmp_path) == ["a.bin"]


def test_a_later_call_goes_on_too(server, stream, tmp_path, capsys):
    server.files["a.bin"], server.cut, server.cuts = BODY, 1000, web.ATTEMPTS
    folder = stream({"path": "d/a.bin", "url": server.url("a.bin"), "sha256": SUM})
    assert run(folder, "--to", tmp_path / "data") == 1
    said = capsys.readouterr()
    assert "broken off" in said.out and "1 downloads failed" in said.err
    assert names(tmp_path / "data") == ["d/a.bin.part", "d/a.bin.part.etag"]
    server.asked.clear()
    assert run(folder, "--to", tmp_path / "data") == 0
    assert server.asked == [f"bytes={1000 * web.ATTEMPTS}-"]
    assert (tmp_path / "data/d/a.bin").read_bytes() == BODY
    assert run(folder, "--to", tmp_path / "data") == 0
    assert "there " in capsys.readouterr().out and len(server.asked) == 1


def test_a_file_that_changed_meanwhile_is_taken_from_its_start(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(b"old" * 100)
    (tmp_path / "a.bin.part.etag").write_text('"v0"')
    assert web.download(server.url("a.bin"), tmp_path / "a.bin") == SUM


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY + b"more")
    (tmp_path / "a.bin.part.etag").write_text(server.tag)
    assert web.download(server.url("a.bin"), tmp_path / "a.bin") == SUM


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"size": 7}])
def test_another_file_than_expected_keeps_no_name(server, stream, tmp_path, capsys, wrong):
    server.files["a.bin"] = BODY
    folder = stream({"path": "d/a.bin", "url": server.url("a.bin")} | wrong)
    assert run(folder, "--to", tmp_path / "data") == 1
    assert f"sha256 {SUM}, expected" in capsys.readouterr().out
    assert names(tmp_path / "data") == []


def test_a_wrong_file_that_is_there_already_is_not_touched(server, stream, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.bin").write_bytes(b"mine")
    folder = stream({"path": "a.bin", "url": server.url("a.bin"), "sha256": SUM})
    assert run(folder, "--to", tmp_path / "data") == 1
    assert "move it away first" in capsys.readouterr().err
    assert (tmp_path / "data/a.bin").read_bytes() == b"mine"


def test_archives_are_unpacked_once(server, stream, tmp_path):
    server.files["a.zip"] = zipped(**{"top/train/1.png": b"one", "top/read.me": b"two"})
    server.files["b.tar.gz"] = tarred(("RS/train.json", b"[]", tarfile.REGTYPE))
    folder = stream(
        {"path": "imgs", "url": server.url("a.zip"), "unpack": "zip", "strip": 1},
        {"path": "more", "url": server.url("b.tar.gz"), "unpack": "tar"},
    )
    assert run(folder, "--to", tmp_path / "data") == 0
    expected = ["imgs/a.zip.fetched", "imgs/read.me", "imgs/train/1.png"]
    expected += ["more/RS/train.json", "more/b.tar.gz.fetched"]
    assert names(tmp_path / "data") == expected
    assert (tmp_path / "data/imgs/train/1.png").read_bytes() == b"one"
    assert run(folder, "--to", tmp_path / "data") == 0
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.zip", zipped(**{"../out.txt": b"x"})),
        ("a.zip", zipped(**{"/elsewhere/out.txt": b"x"})),
        ("a.zip", zipped(**{"in/..\\..\\out.txt": b"x"})),
        ("a.tar", tarred(("a/../../out.txt", b"x", tarfile.REGTYPE))),
        ("a.tar", tarred(("passwords", b"", tarfile.SYMTYPE))),
        ("a.tar", b"no archive"),
        ("a.zip", b"no archive"),
    ],
    ids=["up", "absolute", "backslashes", "tar up", "link out", "no tar", "no zip"],
)
def test_archives_that_lead_out_are_refused(server, stream, tmp_path, capsys, name, body):
    server.files[name] = body
    kind = name.rpartition(".")[2]
    folder = stream({"path": "imgs", "url": server.url(name), "unpack": kind})
    assert run(folder, "--to", tmp_path / "data") == 1
    assert "failed " in capsys.readouterr().out
    assert names(tmp_path / "data") == [f"imgs/{name}"]
    assert not (tmp_path / "out.txt").exists()


def test_what_is_by_hand_or_not_pinned_is_told(server, stream, tmp_path, capsys):
    server.files["a.bin"] = BODY
    folder = stream(
        {"path": "forms", "by_hand": "Sign the form."},
        {"path": "a.bin", "url": server.url("a.bin"), "pinned": False},
    )
    assert run(folder, "--to", tmp_path / "data") == 0
    said = capsys.readouterr().out
    assert "Sign the form." in said and "--unpinned" in said and server.asked == []
    assert run(folder, "--to", tmp_path / "data", "--list") == 0
    assert "missing " in capsys.readouterr().out and server.asked == []
    assert run(folder, "--to", tmp_path / "data", "--unpinned") == 0
    assert f"sha256 {SUM}" in capsys.readouterr().out


def test_manifests_without_downloads_tell_their_source(tmp_path, capsys):
    assert run("cmit", "--to", tmp_path / "data", "--task", "vizwiz") == 0
    said = capsys.readouterr().out
    assert said.count("by hand ") == 3  # questions of both splits, and the test answers
    assert "data/vizwiz/vizwiz_val_annotations.json: Get it from https://vizwiz.org" in said
    assert run("pocket") == 0
    assert capsys.readouterr().out == ""


def test_what_there_is_none_of(server, stream, tmp_path, capsys):
    assert run("cion") == 1
    assert "unknown stream 'cion'. Did you mean 'coin'" in capsys.readouterr().err
    folder = stream({"path": "a.bin", "url": server.url("none.bin")})
    assert run(folder, "--task", "thngs", "--to", tmp_path / "data") == 1
    assert "Did you mean 'things'" in capsys.readouterr().err
    assert run(folder, "--to", tmp_path / "data") == 1
    assert "the server answers 404" in capsys.readouterr().out
    folder = stream({"path": "../../out.bin", "url": server.url("none.bin")})
    assert run(folder, "--to", tmp_path / "data") == 1
    assert "leads out of the root" in capsys.readouterr().err
