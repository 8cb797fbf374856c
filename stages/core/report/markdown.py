"""A section of the report as Markdown, without its pictures: for a file under version control."""

from __future__ import annotations

from stages.core.report.page import Block, Definitions, Note, Section, Table

SPECIAL = "\\|*_`[]<>"  # what Markdown would not show as it stands


def markdown(section: Section, heading: str, foreword: str) -> str:
    """The section's lead, tables and definitions below a heading of the first level; the foreword
    is Markdown already."""
    parts = [f"# {plain(heading)}", foreword, plain(section.lead), *map(_block, section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Definitions):
        return "\n".join(f"- **{plain(name)}** {plain(text)}" for name, text, _ in block.entries)
    return plain(block.text) if isinstance(block, Note) else ""


def _table(table: Table) -> str:
    align = ["---" if i < table.labels or table.prose else "---:" for i in range(len(table.head))]
    rows = [table.head, *([cell.text for cell in row] for row in table.cells())]
    lines = [" | ".join(map(plain, row)) for row in rows]
    lines.insert(1, " | ".join(align))
    text = "\n".join(f"| {line} |" for line in lines)
    title = f"## {plain(table.title)}\n\n" if table.title else ""
    return f"{title}{text}" + (f"\n\n{plain(table.caption)}" if table.caption else "")


def plain(text: str) -> str:
    """Text that Markdown shows as it stands."""
    escaped = "".join(f"\\{c}" if c in SPECIAL else c for c in text)
    return escaped.replace("\n", " ")


def code(text: str) -> str:
    """Text as code, whatever backticks it holds."""
    fence = "`"
    while fence in text:
        fence += "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"
