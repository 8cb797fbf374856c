"""Files from the web: resumed where they broke off, checked, and only then given their names."""

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from stages.core.base.errors import InputError
from stages.core.base.writing import make_folder

CHUNK = 1 << 20
ATTEMPTS = 3  # of one download, each going on where the last one broke off
TIMEOUT = 60  # seconds without a byte
AGENT = "cmit-pipeline fetch-data"
BROKEN = (OSError, http.client.HTTPException)


def download(url: str, target: Path, size: int | None = None, sha256: str | None = None) -> str:
    """Fetch ``url`` into ``target`` and return its SHA-256.

    What came is kept as ``target`` with ``.part`` behind, and a later call goes on from there, if
    the server says that its file is still the same one.

    Raises:
        InputError: no answer, an answer cut off three times, another size or checksum; a file that
            is not the wanted one is deleted.
    """
    make_folder(target.parent)
    part = target.with_name(f"{target.name}.part")
    problem: BaseException | None = None
    for _ in range(ATTEMPTS):
        try:
            whole = _continued(url, part)
        except urllib.error.HTTPError as error:
            raise InputError(f"{url}: the server answers {error.code} {error.reason}.") from None
        except BROKEN as error:
            problem = error
            continue
        if whole:
            break
    else:
        raise InputError(
            f"{url}: broken off ({problem or 'the connection ended early'}); "
            f"{part} keeps what came, and calling again goes on from there."
        )
    found = _checked(url, part, size, sha256)
    part.replace(target)
    _tag(part).unlink(missing_ok=True)
    return found


def _tag(part: Path) -> Path:
    """Where the server's mark of the version that a part belongs to is kept."""
    return part.with_name(f"{part.name}.etag")


def _continued(url: str, part: Path) -> bool:
    """Append to the part what the server still has; whether it is complete then."""
    headers, tag = {"User-Agent": AGENT}, _tag(part)
    if part.exists() and tag.exists():
        headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": tag.read_text()}
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # longer than the file is, or all of it: begin again
        return False
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if not goes_on:
            tag.unlink(missing_ok=True)
            if mark := answer.headers.get("ETag"):
                tag.write_text(mark)
        left = answer.headers.get("Content-Length")
        with part.open("ab" if goes_on else "wb") as handle:
            came = _copy(answer, handle)
    return left is None or came == int(left)


def _copy(source: Any, handle: IO[bytes]) -> int:
    came = 0
    while block := source.read(CHUNK):
        handle.write(block)
        came += len(block)
    return came


def _checked(url: str, part: Path, size: int | None, sha256: str | None) -> str:
    with part.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    length = part.stat().st_size
    if (size is not None and length != size) or (sha256 is not None and found != sha256):
        part.unlink()
        _tag(part).unlink(missing_ok=True)
        wanted = f"{size} bytes" if size is not None and length != size else f"sha256 {sha256}"
        raise InputError(
            f"{url}: came with {length} bytes and sha256 {found}, expected {wanted}; nothing was "
            "kept. The source has changed: correct the manifest if the change is wanted."
        )
    return found


def unpack(archive: Path, folder: Path, kind: str, strip: int = 0) -> int:
    """Write the files of a zip or tar archive below ``folder``; return how many.

    ``strip`` folders at the front of their paths are left out. Each file gets its name when it is
    complete.

    Raises:
        InputError: no such archive, a path out of the folder, a link or a device.
    """
    count = 0
    try:
        for name, source in (_zip if kind == "zip" else _tar)(archive):
            path = _place(archive, folder, name, strip)
            if path is not None:
                make_folder(path.parent)
                part = path.with_name(f"{path.name}.part")
                with source, part.open("wb") as handle:
                    shutil.copyfileobj(source, handle, CHUNK)
                part.replace(path)
                count += 1
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: no sound {kind} archive: {error}.") from None
    return count


def _place(archive: Path, folder: Path, name: str, strip: int) -> Path | None:
    """Where a member goes; None if nothing of its path is left.

    Raises :class:`InputError` for a path out of the folder.
    """
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{archive}: {name!r} leads out of the folder; the archive is refused.")
    path = folder.joinpath(*parts[strip:])
    inside = os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)
    if parts[strip:] and not inside:
        raise InputError(f"{archive}: {name!r} leads out of the folder by a link on this machine.")
    return path if parts[strip:] else None


def _zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            if (member.external_attr >> 16) & 0o170000 == 0o120000:
                raise InputError(f"{archive}: {member.filename!r} is a link; it is refused.")
            if not member.is_dir():
                yield member.filename, content.open(member)


def _tar(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as content:
        for member in content:
            if not (member.isfile() or member.isdir()):
                raise InputError(f"{archive}: {member.name!r} is a link or device; it is refused.")
            source = content.extractfile(member)
            if source is not None:
                yield member.name, source
