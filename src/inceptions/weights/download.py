"""Fetching a file once and safely: resumed, checked before it gets its name, and from the cache without any request.

Files lie where PyTorch keeps its own (`$TORCH_HOME/hub/checkpoints`), so that what torchvision or timm fetched is
found. Beside a file whose publisher states no whole SHA-256 stands `NAME.sha256`, in the form of `sha256sum`, written
when it came: the file is compared with it ever after. Proxies are the environment's (`https_proxy`, `no_proxy`).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from inceptions.errors import RunError
from inceptions.files import user_cache, writable, write_atomically
from inceptions.progress import log, track
from inceptions.system import flush

TIMEOUT = 30.0
"""Seconds without a byte after which a connection is given up (and the download resumed, or the next mirror tried)."""

_ATTEMPTS = 4  # connections to one address, as long as each brings the download further
_CHUNK = 1 << 20
_MAX_SIZE = 4 << 30  # bytes; of a file whose size nobody states
_ADDRESS = re.compile(r"(?P<url>https?://[^#]+)#sha256[:=](?P<hash>[0-9a-fA-F]{64})")


class Source(Protocol):
    """What `fetch` needs to know of a file; the catalogue's records are such."""

    @property
    def file(self) -> str:
        """Its name in the cache."""

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it is, the publisher's own address first."""

    @property
    def size(self) -> int | None:
        """Its bytes, where the publisher states them."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """ "sha256", "sha1" or "md5" to the hexadecimal digest, or to the beginning of one, as far as it is stated."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """A file that a user gave by its URL."""

    file: str
    urls: tuple[str, ...]
    hashes: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None


class _RefusedError(Exception):
    """Why an address did not give the file; the next one may."""


class _CutShortError(_RefusedError):
    """The connection ended early; what came can be continued."""


def cache_folder() -> Path:
    """Where fetched files lie: PyTorch's own folder for them; for a user without a home, one of the temporary files."""
    if given := os.environ.get("TORCH_HOME"):
        home = Path(os.path.expanduser(given))
    else:
        home = (user_cache() or Path(tempfile.gettempdir()) / f"inceptions-{os.getuid()}") / "torch"
    return home / "hub" / "checkpoints"


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` forbids every request."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch_url(text: str) -> Path:
    """The file behind `https://...#sha256:HEX`, from the cache or fetched.

    Raises:
        ValueError: the address names no SHA-256.
        OSError: as `fetch`.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} names no SHA-256: write https://...#sha256:HEX with the 64 digits of the file's hash, "
            "or download it yourself and give the file"
        )
    digest = match["hash"].lower()
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(match["url"]).path)).name
    name = re.sub(r"[^\w.-]", "_", name)[-100:].lstrip(".") or "weights"
    return fetch(Address(file=f"{digest[:16]}-{name}", urls=(match["url"],), hashes={"sha256": digest}))


def fetch(source: Source, *, timeout: float = TIMEOUT) -> Path:
    """The file of `source` on this machine: from the cache, without any request, or fetched, checked and kept.

    Args:
        source: what to fetch.
        timeout: seconds without a byte after which a connection is given up.

    Raises:
        OSError: no address gave the right file, or requests are forbidden; the message says each address and what went
            wrong there, the expected hash, where the file belongs and how to give one by hand.
        ValueError: the cached file is not what the publisher states or what once came; it is left as it is.
    """
    target = cache_folder() / source.file
    if os.path.isfile(target):
        return _checked(target, source)
    if is_offline():
        raise OSError(_failure(source, target, ["HF_HUB_OFFLINE is set: no request was made"]))
    target = writable(target.parent, "TORCH_HOME") / source.file
    part = target.with_name(f"{target.name}.part")
    with _alone(part):
        if target.is_file():  # another process was faster
            return _checked(target, source)
        reasons = []
        for url in source.urls:
            try:
                _download(url, source, part, timeout)
                break
            except _RefusedError as reason:
                log.warning("%s: %s", url, reason)
                reasons.append(f"{url}: {reason}")
        else:
            raise OSError(_failure(source, target, reasons))
        _record(target, digests(part, ["sha256"])["sha256"], source)
        part.replace(target)
        _notes_of(part).unlink(missing_ok=True)
    return target


def verify(path: Path, source: Source | None = None) -> str:
    """Compares a file with what its publisher states and with what was recorded when it first came.

    Returns:
        Its SHA-256.

    Raises:
        RunError: it differs; the message says in what.
    """
    expected = dict(source.hashes) if source is not None else {}
    found = digests(path, {"sha256", *expected})
    size = None if source is None else source.size
    wrong = _differences(found, expected, path.stat().st_size, size)
    before = recorded(path)
    if before not in (None, found["sha256"]):
        wrong.append(f"SHA-256 is {found['sha256']}, and was {before} when the file came")
    if wrong:
        raise RunError(f"{path} is not the file it should be: {'; '.join(wrong)}. Delete it to fetch it again")
    return found["sha256"]


def recorded(path: Path) -> str | None:
    """The SHA-256 that was written down when the file first came, or None."""
    record = _record_of(path)
    words = record.read_text(encoding="utf-8", errors="replace").split() if record.is_file() else []
    return words[0][:64] if words else None


def digests(path: Path, algorithms: Any) -> dict[str, str]:
    """Hexadecimal digests of a file, read once, by algorithm."""
    states = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for state in states.values():
                state.update(chunk)
    return {name: state.hexdigest() for name, state in states.items()}


def _checked(target: Path, source: Source) -> Path:
    """The cached file, compared with all that is known; what another program put there is recorded now."""
    digest = verify(target, source)
    if recorded(target) is None:
        _record(target, digest, source)
    return target


def _record(target: Path, digest: str, source: Source) -> None:
    if len(source.hashes.get("sha256", "")) < 64:  # else the publisher's is as good
        try:
            write_atomically(_record_of(target), f"{digest}  {target.name}\n")
        except OSError as error:  # a cache that others keep for us
            log.warning("%s: the file's hash is not recorded: %s", target, error.strerror or error)


# -- one address


def _download(url: str, source: Source, part: Path, timeout: float) -> None:
    """Brings `part` to the whole, checked file, continuing what is there; `_RefusedError` with the reason otherwise."""
    resumed = part.stat().st_size > 0
    for _ in range(_ATTEMPTS):
        before = part.stat().st_size
        try:
            _continue(url, source, part, timeout)
            break
        except _CutShortError:
            if part.stat().st_size <= before:
                raise
            resumed = True
    else:
        raise _RefusedError(f"the connection broke {_ATTEMPTS} times; what came is kept, try again to continue")
    wrong = _differences(digests(part, source.hashes), source.hashes, part.stat().st_size, source.size)
    if not wrong:
        return
    _restart(part)
    if resumed:  # the beginning may have been another file's: once more, all of it
        _continue(url, source, part, timeout)
        wrong = _differences(digests(part, source.hashes), source.hashes, part.stat().st_size, source.size)
    if wrong:
        _restart(part)
        raise _RefusedError(f"it sent another file: {'; '.join(wrong)}")


def _continue(url: str, source: Source, part: Path, timeout: float) -> None:
    """One connection: appends to `part` from where it ends, if the server still has the same file."""
    validator = _validator(part, url)
    start = part.stat().st_size if validator else 0
    headers = {"User-Agent": "inceptions", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    opener = urllib.request.build_opener(_NoDowngrade)  # here, where the environment's proxies are known
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            if response.status != 206 or _first_byte(response) != start:
                start = 0
            whole = _announced(response, start, source, part.parent)
            _restart(part, keep=start)
            _write_validator(part, url, response)
            with part.open("ab") as file:
                for chunk in track(
                    _chunks(response), description=f"fetching {source.file}", total=whole, unit="bytes", amount=len
                ):
                    if file.tell() + len(chunk) > (source.size or whole or _MAX_SIZE):
                        raise _RefusedError("it sends more than it announced")
                    file.write(chunk)
            flush(part)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # there is nothing after what we have: let the hash decide
            return
        raise _RefusedError(f"{error.code} {error.reason}") from error
    except (TimeoutError, http.client.HTTPException, ConnectionError) as error:
        raise _CutShortError(f"the connection broke ({type(error).__name__}: {error})") from error
    except urllib.error.URLError as error:
        kind = _CutShortError if isinstance(error.reason, TimeoutError) else _RefusedError
        raise kind(f"no connection ({error.reason})") from error
    if whole is not None and part.stat().st_size < whole:
        raise _CutShortError(f"the connection ended after {part.stat().st_size:,} of {whole:,} bytes")


def _announced(response: Any, start: int, source: Source, folder: Path) -> int | None:
    """The whole file's size as the server states it; refused where it cannot be the file, or does not fit the disk."""
    kind = response.headers.get_content_type()
    if kind == "text/html":
        raise _RefusedError("it sent a web page instead of the file")
    length = response.headers.get("Content-Length")
    whole = start + int(length) if length is not None and length.isdigit() else None
    if source.size is not None and whole not in (None, source.size):
        raise _RefusedError(f"it announces {whole:,} bytes, the file has {source.size:,}")
    if whole is not None and whole > (source.size or _MAX_SIZE):
        raise _RefusedError(f"it announces {whole:,} bytes; at most {_MAX_SIZE:,} are fetched")
    if whole is not None and whole - start > shutil.disk_usage(folder).free:
        raise OSError(f"{folder} has no room for {whole:,} bytes; set TORCH_HOME to a larger disk")
    return whole


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read1(_CHUNK):
        yield chunk


def _first_byte(response: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
    return int(match[1]) if match else None


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but from https only to https."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https://") and not newurl.startswith("https://"):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


# -- the part of a file that has come, and what is known about it


def _notes_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _record_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _validator(part: Path, url: str) -> str:
    """What the server called the version of the file that `part` began as; empty where it cannot be continued."""
    try:
        notes = json.loads(_notes_of(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return ""
    same = isinstance(notes, dict) and notes.get("url") == url and isinstance(notes.get("validator"), str)
    return notes["validator"] if same else ""


def _write_validator(part: Path, url: str, response: Any) -> None:
    tag = response.headers.get("ETag") or ""
    validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified") or ""
    write_atomically(_notes_of(part), json.dumps({"url": url, "validator": validator}))


def _restart(part: Path, keep: int = 0) -> None:
    with part.open("r+b") as file:
        file.truncate(keep)


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Holds the download of this file for one process or thread; others wait. Leaves no empty part behind.

    The lock is a file of its own that stays: whoever took a lock file away would let two in at once.
    """
    locks = part.parent / ".locks"
    locks.mkdir(exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(locks / f"{part.stem}.lock"))
        except OSError as error:  # a network folder without locks: two processes must not fetch one file at once
            log.debug("%s: no lock: %s", part, error)
        part.touch()
        try:
            yield
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()
                _notes_of(part).unlink(missing_ok=True)


def _differences(found: Mapping[str, str], expected: Mapping[str, str], size: int, stated: int | None) -> list[str]:
    """In what a file is not the stated one; a stated hash may be the beginning of one."""
    wrong = [
        f"{name} is {found[name]}, stated is {digest}"
        for name, digest in expected.items()
        if not found[name].startswith(digest.lower())
    ]
    if stated is not None and size != stated:
        wrong.insert(0, f"it has {size:,} bytes, stated are {stated:,}")
    return wrong


def _failure(source: Source, target: Path, reasons: list[str]) -> str:
    stated = ", ".join(f"{name} {digest}" for name, digest in source.hashes.items())
    return "\n".join(
        [
            f"{source.file} could not be fetched:",
            *(f"  {reason}" for reason in reasons),
            f"addresses: {' '.join(source.urls)}",
            f"expected hash: {stated or 'none is published; it is recorded when the file first comes'}",
            f"target: {target}",
            "Put the file there yourself, or give its path in the place of its name (--weights FILE).",
        ]
    )
