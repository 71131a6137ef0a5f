"""Downloads against a server on this machine that cuts, stalls, lies, errs and redirects."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inceptions.weights.download import Address, cache_folder, digests, fetch, fetch_url, recorded, verify

CONTENT = bytes(range(256)) * 5000  # 1.28 MB: more than one chunk
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = bytes(reversed(CONTENT))
FAST = 0.4  # seconds until a silent server is given up


@dataclass
class Server:
    """Answers each request by the next of `answers` (the last one again and again) and keeps what was asked."""

    port: int = 0
    answers: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    def url(self, name: str = "weights.pth") -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def source(self, **facts: Any) -> Address:
        return Address(**{"file": "weights.pth", "urls": (self.url(),), "hashes": {"sha256": SHA256}} | facts)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
            answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            answer(self)

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is not the server's."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = False  # joined below
    state.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()  # waits for the answers that are under way
    thread.join()


def answer(
    content: bytes = CONTENT, *, status: int = 200, send: int | None = None, length: int | None = None,
    tag: str = '"1"', stall: float = 0.0, kind: str = "application/octet-stream", ranges: bool = True,
) -> Callable[[BaseHTTPRequestHandler], None]:  # fmt: skip
    """A server that has `content` and sends `send` bytes of what was asked for."""

    def run(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        start = 0
        if asked and ranges and handler.headers.get("If-Range") == tag and status == 200:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(status)
        body = content[start:]
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.send_header("Content-Type", kind)
        if tag:
            handler.send_header("ETag", tag)
        handler.end_headers()
        try:
            handler.wfile.write(body[:send])
            handler.wfile.flush()
            time.sleep(stall)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has left: that is what some tests are about

    return run


def redirect(to: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def run(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return run


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_comes_whole_and_leaves_nothing_else_behind(server: Server, tmp_path: Path) -> None:
    server.answers = [answer()]
    path = fetch(server.source())
    assert path == cache_folder() / "weights.pth"
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == ["weights.pth"]


def test_a_cached_file_needs_no_request(server: Server) -> None:
    server.answers = [answer()]
    fetch(server.source())
    server.asked.clear()
    assert fetch(server.source()).read_bytes() == CONTENT
    assert server.asked == []


def test_a_cached_file_that_has_changed_is_refused_and_kept(server: Server) -> None:
    server.answers = [answer()]
    path = fetch(server.source())
    path.write_bytes(OTHER)
    with pytest.raises(ValueError, match="stated is"):
        fetch(server.source())
    assert path.read_bytes() == OTHER


def test_a_hash_that_nobody_states_is_recorded_and_checked_ever_after(server: Server) -> None:
    server.answers = [answer()]
    path = fetch(server.source(hashes={}))
    assert recorded(path) == SHA256
    assert (path.parent / "weights.pth.sha256").read_text() == f"{SHA256}  weights.pth\n"  # as sha256sum reads it
    path.write_bytes(OTHER)
    with pytest.raises(ValueError, match="when the file came"):
        fetch(server.source(hashes={}))
    with pytest.raises(ValueError, match="when the file came"):
        verify(path)


def test_the_beginning_of_a_hash_is_compared_and_the_whole_recorded(server: Server) -> None:
    server.answers = [answer()]
    assert recorded(fetch(server.source(hashes={"sha256": SHA256[:8]}))) == SHA256
    with pytest.raises(OSError, match="another file"):
        fetch(server.source(file="second.pth", hashes={"sha256": "00000000"}))


@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_older_hashes_are_compared_too(algorithm: str, server: Server) -> None:
    server.answers = [answer()]
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    assert fetch(server.source(hashes={algorithm: digest})).read_bytes() == CONTENT
    with pytest.raises(OSError, match=algorithm):
        fetch(server.source(file="second.pth", hashes={algorithm: digest[::-1]}))


def test_a_file_put_there_by_another_program_is_found_and_recorded(server: Server) -> None:
    server.answers = [answer(status=500)]
    cache_folder().mkdir(parents=True)
    (cache_folder() / "weights.pth").write_bytes(CONTENT)
    assert recorded(fetch(server.source(hashes={"sha256": SHA256[:8]}))) == SHA256
    assert server.asked == []


def test_a_wrong_file_never_gets_the_name(server: Server, tmp_path: Path) -> None:
    server.answers = [answer(OTHER)]
    with pytest.raises(OSError, match="another file"):
        fetch(server.source())
    assert left(tmp_path) == []


def test_a_failure_says_address_hash_target_and_what_to_do(server: Server) -> None:
    server.answers = [answer(status=404)]
    with pytest.raises(OSError, match="404") as failure:
        fetch(server.source())
    said = str(failure.value)
    for part in (server.url(), SHA256, str(cache_folder() / "weights.pth"), "--weights FILE"):
        assert part in said


def test_a_broken_connection_is_continued_where_it_broke(server: Server) -> None:
    server.answers = [answer(send=300_000), answer(send=500_000), answer()]
    assert fetch(server.source()).read_bytes() == CONTENT
    assert [asked.get("range") for asked in server.asked] == [None, "bytes=300000-", "bytes=800000-"]
    assert server.asked[1]["if-range"] == '"1"'


def test_a_silent_server_is_given_up_and_continued(server: Server) -> None:
    server.answers = [answer(send=300_000, stall=3 * FAST), answer()]
    started = time.monotonic()
    assert fetch(server.source(), timeout=FAST).read_bytes() == CONTENT
    assert time.monotonic() - started < 3 * FAST
    assert server.asked[1]["range"] == "bytes=300000-"


def test_a_later_call_continues_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.answers = [answer(send=300_000), answer(send=0)]
    with pytest.raises(OSError, match="bytes"):
        fetch(server.source())
    assert left(tmp_path) == ["weights.pth.part", "weights.pth.part.json"]
    server.asked.clear()
    server.answers = [answer()]
    assert fetch(server.source()).read_bytes() == CONTENT
    assert server.asked[0]["range"] == "bytes=300000-"
    assert left(tmp_path) == ["weights.pth"]


def test_another_version_of_the_file_is_fetched_from_its_beginning(server: Server) -> None:
    server.answers = [answer(OTHER, send=300_000), answer(tag='"2"')]
    assert fetch(server.source()).read_bytes() == CONTENT


def test_a_server_that_cannot_continue_sends_all_again(server: Server) -> None:
    server.answers = [answer(send=300_000), answer(ranges=False)]
    assert fetch(server.source()).read_bytes() == CONTENT


def test_a_server_that_continues_with_another_file_is_asked_for_all_of_it(server: Server) -> None:
    server.answers = [answer(OTHER, send=300_000), answer()]  # the same tag for another content: a lie
    assert fetch(server.source()).read_bytes() == CONTENT
    assert server.asked[-1].get("range") is None


def test_a_server_that_keeps_breaking_is_not_asked_for_ever(server: Server) -> None:
    server.answers = [answer(send=10)]
    with pytest.raises(OSError, match="broke"):
        fetch(server.source())
    assert len(server.asked) < 10


@pytest.mark.parametrize(("lie", "complaint"), [
    ({"length": len(CONTENT) + 99}, "announces"),
    ({"length": 10}, "announces"),
    ({"content": CONTENT + b"more"}, "announces"),
])  # fmt: skip
def test_a_length_that_is_not_the_files_is_refused(
    lie: dict[str, Any], complaint: str, server: Server, tmp_path: Path
) -> None:
    server.answers = [answer(**lie)]
    with pytest.raises(OSError, match=complaint):
        fetch(server.source(size=len(CONTENT)))
    assert left(tmp_path) == []


def test_an_absurd_length_is_refused_before_anything_is_written(server: Server, tmp_path: Path) -> None:
    server.answers = [answer(length=1 << 50)]
    with pytest.raises(OSError, match="announces"):
        fetch(server.source())
    assert left(tmp_path) == []


def test_a_web_page_in_the_place_of_a_file_is_refused(server: Server) -> None:
    server.answers = [answer(b"<html>", kind="text/html; charset=utf-8")]
    with pytest.raises(OSError, match="web page"):
        fetch(server.source(hashes={}))


def test_redirects_are_followed(server: Server) -> None:
    server.answers = [redirect("/elsewhere"), answer()]
    assert fetch(server.source()).read_bytes() == CONTENT
    assert [asked["path"] for asked in server.asked] == ["/weights.pth", "/elsewhere"]


def test_redirects_in_a_circle_end(server: Server) -> None:
    server.answers = [redirect("/weights.pth")]
    with pytest.raises(OSError, match="redirect"):
        fetch(server.source())


def test_the_mirror_is_asked_when_the_first_address_fails(server: Server) -> None:
    server.answers = [answer(status=503), answer()]
    path = fetch(server.source(urls=(server.url("first"), server.url("mirror"))))
    assert path.read_bytes() == CONTENT
    assert [asked["path"] for asked in server.asked] == ["/first", "/mirror"]


def test_no_server_at_all_is_a_failure_that_says_so(server: Server) -> None:
    with pytest.raises(OSError, match="no connection"):
        fetch(server.source(urls=("http://127.0.0.1:9/weights.pth",)))


def test_offline_means_no_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server.answers = [answer()]
    with pytest.raises(OSError, match="HF_HUB_OFFLINE"):
        fetch(server.source())
    assert server.asked == []


def test_the_environments_proxy_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url(""))
    server.answers = [answer()]
    fetch_url(f"http://weights.invalid/file.pth#sha256:{SHA256}")
    assert server.asked[0]["path"] == "http://weights.invalid/file.pth"


def test_two_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    server.answers = [answer(stall=0.1)]
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(server.source()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 3
    assert len(server.asked) == 1
    assert left(tmp_path) == ["weights.pth"]


def test_an_address_with_its_hash_is_fetched_under_that_hash(server: Server) -> None:
    server.answers = [answer()]
    path = fetch_url(f"{server.url('a%2F..%2Fb%20c.pth?download=1')}#sha256:{SHA256.upper()}")
    assert path.read_bytes() == CONTENT
    assert path.parent == cache_folder()
    assert path.name == f"{SHA256[:16]}-b_c.pth"


@pytest.mark.parametrize("end", ["", "#sha256:abc", "#md5:" + "0" * 64, "#sha256:" + "g" * 64])
def test_an_address_without_a_whole_hash_is_refused(end: str, server: Server) -> None:
    with pytest.raises(ValueError, match="names no SHA-256"):
        fetch_url(server.url() + end)
    assert server.asked == []


def test_damaged_notes_about_a_part_start_it_anew(server: Server) -> None:
    server.answers = [answer()]
    cache_folder().mkdir(parents=True)
    (cache_folder() / "weights.pth.part").write_bytes(b"what is this")
    (cache_folder() / "weights.pth.part.json").write_text(json.dumps(["no", "notes"]))
    assert digests(fetch(server.source()), ["sha256"]) == {"sha256": SHA256}
