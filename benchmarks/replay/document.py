"""Document: the report as Markdown for the documentation and as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

BEGIN = "<!-- regulus bench report: begin -->"
END = "<!-- regulus bench report: end -->"

_IMAGE = re.compile(r'<img src="([^"]+\.svg)"')
_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; font-size: 12px; display: block; overflow-x: auto; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; white-space: nowrap; }
th { background: #f5f5f5; vertical-align: bottom; white-space: normal; }
img { max-width: 100%; }
code { background: #f3f3f3; padding: 0 .2rem; }
"""


@dataclass(frozen=True, slots=True)
class Document:
    """A report.

    Attributes:
        title: Its heading.
        body: Markdown below the heading; images by their path relative to the folder of the Markdown file.
    """

    title: str
    body: str

    def write_markdown(self, path: Path) -> None:
        """Put the report between its markers in ``path``; what stands outside them stays."""
        block = f"{BEGIN}\n{self.body.strip()}\n{END}\n"
        if path.exists() and BEGIN in (before := path.read_text(encoding="utf-8")):
            head, _, rest = before.partition(BEGIN)
            text = head + block + rest.partition(END)[2].removeprefix("\n")
        else:
            text = f"# {self.title}\n\n{block}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def write_html(self, path: Path, images: Path) -> None:
        """One file with the plots inside.

        Args:
            path: Where to.
            images: The folder that the paths of the images are relative to.
        """
        rendered = MarkdownIt("commonmark").enable("table").render(f"# {self.title}\n\n{self.body}")
        inlined = _IMAGE.sub(lambda found: f'<img src="{_data_uri(images / found.group(1))}"', rendered)
        page = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{self.title}</title>\n'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{page}<style>{_CSS}</style>\n{inlined}</html>\n", encoding="utf-8")


def paragraphs(*parts: str) -> str:
    """Markdown blocks with a blank line between."""
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def image(path: str, alt: str) -> str:
    """A plot."""
    return f"![{alt}]({path})"


def _data_uri(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
