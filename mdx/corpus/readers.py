"""One reader a kind: the bytes of a file -> a title and a text.

Nothing in a file is ever executed, included or fetched.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from mdx.corpus.collect import File
from mdx.corpus.config import Kind, ReadLimits
from mdx.corpus.decode import UnreadableError, check_lines, decode, read_bytes
from mdx.corpus.lammps_files import read_input, read_log

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([A-Za-z0-9_-]+)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a file says."""

    title: str
    text: str


def read(file: File, limits: ReadLimits) -> Page:
    """Return the page in `file`. Raises UnreadableError where there is none to be had."""
    content = read_bytes(file.path, limits)
    title, text = _READERS[file.kind](content, limits)
    if not text.strip():
        raise UnreadableError("no text", "only markup")
    check_lines(text, limits)
    return Page(title=title or file.name, text=text)


def load_readers() -> None:
    """Import what the readers need, which takes a second or two."""
    import py3langid

    for library in ("markdown_it", "mdx.corpus.html", "mdx.corpus.pdf", "mdx.corpus.rst"):
        importlib.import_module(library)
    py3langid.classify("The model of languages is read when it is first asked.")


def _rst(content: bytes, limits: ReadLimits) -> tuple[str, str]:
    from mdx.corpus.rst import read_rst

    text = decode(content, limits)
    check_lines(text, limits)
    return read_rst(text)


def _html(content: bytes, limits: ReadLimits) -> tuple[str, str]:
    from mdx.corpus.html import read_html

    charset = _CHARSET.search(content[:4096])
    if charset and charset[1].lower() not in (b"utf-8", b"utf8"):
        try:
            content = content.decode(charset[1].decode("ascii")).encode("utf-8")
        except (LookupError, UnicodeDecodeError) as error:
            raise UnreadableError("wrong encoding", f"not {charset[1].decode()}") from error
    return read_html(decode(content, limits))


def _pdf(content: bytes, limits: ReadLimits) -> tuple[str, str]:
    from mdx.corpus.pdf import read_pdf

    title, text = read_pdf(content)
    if len(text) > limits.max_text_chars:
        raise UnreadableError("too large", f"{len(text)} characters")
    return title, text


def _markdown(content: bytes, limits: ReadLimits) -> tuple[str, str]:
    """Keep Markdown as it is, but for HTML comments and images, which say nothing in text."""
    from markdown_it import MarkdownIt

    text = decode(content, limits)
    check_lines(text, limits)
    lines = text.split("\n")
    title = ""
    dropped: set[int] = set()
    tokens = MarkdownIt("commonmark").parse(text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and not title and following is not None:
            title = following.content
        if token.type == "html_block" and token.map:
            dropped.update(range(*token.map))
        if token.type == "inline" and token.map and token.children:
            shown = [c for c in token.children if c.type not in ("softbreak", "hardbreak")]
            if all(c.type in ("image", "link_open", "link_close", "html_inline") for c in shown):
                dropped.update(range(*token.map))
    kept = "\n".join(line for i, line in enumerate(lines) if i not in dropped)
    return title, re.sub(r"\n{3,}", "\n\n", kept).strip() + "\n"


def _text(content: bytes, limits: ReadLimits) -> tuple[str, str]:
    text = decode(content, limits)
    heading = _HEADING.search(text)
    return heading[1] if heading else "", text


def _python(content: bytes, limits: ReadLimits) -> tuple[str, str]:
    text = decode(content, limits).strip("\n")
    return "", f"```python\n{text}\n```\n"


def _input(content: bytes, limits: ReadLimits) -> tuple[str, str]:
    return "", read_input(decode(content, limits))


def _log(content: bytes, limits: ReadLimits) -> tuple[str, str]:
    return "", read_log(decode(content, limits), limits.max_log_chars)


_READERS: dict[Kind, Callable[[bytes, ReadLimits], tuple[str, str]]] = {
    Kind.RST: _rst,
    Kind.HTML: _html,
    Kind.PDF: _pdf,
    Kind.MARKDOWN: _markdown,
    Kind.PYTHON: _python,
    Kind.TEXT: _text,
    Kind.LAMMPS_INPUT: _input,
    Kind.LAMMPS_LOG: _log,
}
