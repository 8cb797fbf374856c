"""Hook of MkDocs: guides from other folders as pages of the site, and links out of docs/.

A guide that stands beside what it describes is a page too. A link to any other file of the
repository is shown as plain text with the file's path. A link that leads nowhere is a warning,
which --strict makes an error.
"""

import logging
import os
import re
from pathlib import Path

from mkdocs.structure.files import File

LOG = logging.getLogger("mkdocs.hooks.links")
ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"(^```.*?^```$)", re.S | re.M)
GUIDES = {  # page: file of the repository
    "configuration.md": "workflow/config/README.md",
    "manifests.md": "data_manifests/README.md",
    "pocket-stream.md": "data_manifests/pocket/README.md",
    "pocket-backbone.md": "data_manifests/pocket/backbone/README.md",
    "comparison.md": "workflow/report/compare.md",
}
PAGE_OF = {file: page for page, file in GUIDES.items()}


def _outside(target: str) -> bool:
    return re.match(r"[a-z]+:|#", target) is not None


def on_files(files, config, **_):
    """The guides become pages."""
    for page, file in GUIDES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(markdown, page, **_):
    """Links between pages are as the site has them; links to other files become text."""
    uri = page.file.src_uri
    folder = Path(GUIDES.get(uri, f"docs/{uri}")).parent

    def replaced(match):
        image, text, target = match.groups()
        if image or _outside(target):
            return match.group(0)
        path, mark, anchor = target.partition("#")
        place = os.path.normpath(folder / path)
        there = PAGE_OF.get(place, place.removeprefix("docs/") if place.startswith("docs/") else "")
        if there:  # MkDocs checks that the page and the anchor are there
            return f"[{text}]({os.path.relpath(there, Path(uri).parent)}{mark}{anchor})"
        if not (ROOT / place).exists():
            LOG.warning("%s: the link to %s leads nowhere", uri, target)
        return text if Path(place).name in text else f"{text} (`{place}`)"

    parts = FENCED.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def on_pre_build(**_):
    """What is no page, the README and guides that are not on the site, has links that hold too."""
    for file in (
        ROOT / "README.md",
        *ROOT.glob("data_manifests/**/*.md"),
        *ROOT.glob("workflow/**/*.md"),
    ):
        for _, _, target in LINK.findall(FENCED.sub("", file.read_text(encoding="utf-8"))):
            if not _outside(target) and not (file.parent / target.partition("#")[0]).exists():
                LOG.warning("%s: the link to %s leads nowhere", file.relative_to(ROOT), target)
