"""Download the data of a stream as its manifests' `files` say, and list what you must get by hand.

    cmit fetch-data coin --to /big                  # all tasks, below /big
    cmit fetch-data coin --to /big --task textvqa gqa
    cmit fetch-data ucit --to /big --list           # only list; nothing is downloaded
    cmit fetch-data ucit --to /big --unpinned       # also addresses whose content may change

An interrupted download resumes when the command is called again. A file gets its name when it is
complete and has the checksum of the manifest. Read the licences (`source.licence`) first.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.core.base import cli
from stages.core.base.config import CLONE
from stages.core.base.errors import InputError, unknown
from stages.core.base.provenance import file_hash
from stages.core.base.writing import make_folder
from stages.core.data.download import download, unpack
from stages.core.data.manifests import Manifest, load_manifest

MANIFESTS = CLONE / "data_manifests"
DONE = ".fetched"  # behind an archive's name in its folder: it was unpacked there


def manifests(stream: str, tasks: Sequence[str], root: Path | None) -> list[Manifest]:
    """The manifests of a stream, a name or a folder, or of some of its tasks.

    Raises:
        InputError: no such stream or task.
    """
    folder = MANIFESTS / stream if (MANIFESTS / stream).is_dir() else Path(stream)
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if not paths:
        named = sorted(path.name for path in MANIFESTS.iterdir() if [*path.glob("*.yaml")])
        raise unknown("stream", stream, named, "fetch-data")
    for task in tasks:
        if task not in paths:
            raise unknown("task", task, paths, str(folder))
    return [load_manifest(paths[task], root) for task in tasks or paths]


def entries(found: Sequence[Manifest]) -> Iterator[tuple[dict[str, Any], Path]]:
    """Every entry of the manifests' `files` once, with its place; where a manifest has none, the
    files of its rows, from its source.

    Raises:
        InputError: a path that leads out of the data root.
    """
    seen = set()
    for manifest in found:
        for entry in manifest.content.get("files") or _of_source(manifest.content):
            key = entry["path"], entry.get("url"), entry.get("by_hand")
            if key in seen:
                continue
            seen.add(key)
            place = manifest.root.place(entry["path"])
            if place is None:
                raise InputError(
                    f"{manifest.path}: files: {entry['path']!r} leads out of the root."
                )
            yield entry, place


def _of_source(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    source = content["source"]
    for split in (content["train"], content["test"]):
        for role in ("file", "annotations"):
            if role in split:
                whence = source.get("url", source["name"])
                yield {"path": split[role], "by_hand": f"Get it from {whence} ; see its licence."}


def _archive(entry: dict[str, Any], place: Path) -> Path:
    return place / str(entry["url"]).rpartition("/")[2]


def is_there(entry: dict[str, Any], place: Path) -> bool:
    """Whether an entry needs nothing more: the file, or the mark of an unpacked archive.

    Raises:
        InputError: a file with another checksum.
    """
    if "unpack" in entry:
        archive = _archive(entry, place)
        return archive.with_name(archive.name + DONE).exists()
    if not place.exists():
        return False
    wanted = entry.get("sha256")
    if wanted and (found := file_hash(place)) != wanted:
        raise InputError(f"{place}: has sha256 {found}, expected {wanted}; move it away first.")
    return True


def _size(entry: dict[str, Any]) -> str:
    exact = f"{entry['size']} bytes" if "size" in entry else "size not stated"
    return entry.get("about", exact)


def fetch(entry: dict[str, Any], place: Path) -> str:
    """Download one entry and unpack it if it is an archive; says what came."""
    target = _archive(entry, place) if "unpack" in entry else place
    digest = download(entry["url"], target, entry.get("size"), entry.get("sha256"))
    said = f"{target.stat().st_size} bytes, sha256 {digest}"
    if "unpack" not in entry:
        return said
    count = unpack(target, place, entry["unpack"], entry.get("strip", 0))
    target.with_name(target.name + DONE).write_text(f"{entry['url']}\n{digest}\n")
    target.unlink()
    return f"{said}, {count} files unpacked"


def fetch_data(found: Sequence[Manifest], *, unpinned: bool, listed: bool) -> None:
    """Get what is missing, one line per entry; what is left to do by hand comes last.

    Raises:
        InputError: after all others were tried, if a download failed.
    """
    by_hand, failed = [], 0
    for entry, place in entries(found):
        if "by_hand" in entry:
            if not place.is_file():  # whether a folder has all of it, its rows tell: check-data
                by_hand.append(f"{place}: {entry['by_hand']}")
        elif is_there(entry, place):
            print(f"there     {place}")
        elif listed:
            print(f"missing   {place}: {entry['url']} ({_size(entry)})")
        elif not entry.get("pinned", True) and not unpinned:
            by_hand.append(
                f"{place}: {entry['url']} may change; --unpinned takes what is there today."
            )
        else:
            try:
                print(f"fetched   {place}: {fetch(entry, place)}", flush=True)
            except InputError as error:
                failed += 1
                print(f"failed    {place}: {cli.printable(str(error))}", flush=True)
    for line in by_hand:
        print(f"by hand   {line}")
    if failed:
        raise InputError(f"{failed} downloads failed; call again to go on with them.")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stream", help="a folder of data_manifests, or the path of one of yours")
    parser.add_argument("--task", nargs="+", default=[], help="only these tasks")
    parser.add_argument("--to", type=Path, help="data root (default, each manifest's)")
    parser.add_argument("--unpinned", action="store_true", help="also content that may change")
    parser.add_argument("--list", action="store_true", help="only list what is missing")
    args = parser.parse_args(argv)
    if args.to:
        make_folder(args.to)
    found = manifests(args.stream, args.task, args.to)
    fetch_data(found, unpinned=args.unpinned, listed=args.list)


if __name__ == "__main__":
    cli.run(main)
