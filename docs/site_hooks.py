"""MkDocs hooks: the repository's README, CONTRIBUTING and CHANGELOG as pages, with links that work on the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}  # fmt: skip
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def site_links(text: str, folder: str) -> str:
    """Translate relative links of a Markdown text into links of the site.

    A link to a file outside the documentation becomes its text, since the site does not contain it.

    Args:
        text: Markdown.
        folder: of the text in the repository: "" or "docs".

    """

    def translated(match: re.Match[str]) -> str:
        image, label, target, anchor = match.groups()
        if not target or ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        page = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        return label if page is None else f"{image}[{label}]({page}{anchor or ''})"

    return LINK.sub(translated, text)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the repository's root."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        content = site_links((REPO / source).read_text(encoding="utf-8"), "")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Translate the links of a page in docs/."""
    return markdown if page.file.src_uri in PAGES.values() else site_links(markdown, "docs")
