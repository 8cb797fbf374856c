"""Hook of MkDocs: links from a page to files of the repository, and the README's own links.

The site holds the pages of docs/ alone. A link to another file of the repository is shown as plain
text; one that leads nowhere is a warning, which --strict makes an error.
"""

import logging
import os
import re
from pathlib import Path

LOG = logging.getLogger("mkdocs.hooks.links")
ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"(^```.*?^```$)", re.S | re.M)


def _outside(target: str) -> bool:
    return re.match(r"[a-z]+:|#", target) is not None


def on_page_markdown(markdown, page, **_):
    """Links out of docs/ become text; their targets must be there."""
    folder = Path("docs", page.file.src_uri).parent

    def replaced(match):
        image, text, target = match.groups()
        place = os.path.normpath(folder / target.partition("#")[0])
        if image or _outside(target) or place.startswith("docs/"):
            return match.group(0)  # MkDocs checks these itself
        if not (ROOT / place).exists():
            LOG.warning("%s: the link to %s leads nowhere", page.file.src_uri, target)
        return text

    parts = FENCED.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def on_pre_build(**_):
    """The README and the guides beside what they describe are no pages; their links hold too."""
    for file in (
        ROOT / "README.md",
        *ROOT.glob("data_manifests/**/*.md"),
        *ROOT.glob("workflow/**/*.md"),
    ):
        for _, _, target in LINK.findall(FENCED.sub("", file.read_text(encoding="utf-8"))):
            if not _outside(target) and not (file.parent / target.partition("#")[0]).exists():
                LOG.warning("%s: the link to %s leads nowhere", file.relative_to(ROOT), target)
