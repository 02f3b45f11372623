"""PDF -> text, through pypdf, without running heads and page numbers."""

import io
import logging
import re
from collections import Counter

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from mdx.corpus.decode import UnreadableError

_MIN_CHARS_A_PAGE = 20
_PAGE_NUMBER = re.compile(r"^\W*(page\s*)?\d{1,4}(\s*(of|/)\s*\d+)?\W*$", re.IGNORECASE)
_HYPHEN = re.compile(r"([a-z])-\n([a-z])")
_RUNNING_HEAD_SHARE = 0.4  # of the pages


def read_pdf(content: bytes) -> tuple[str, str]:
    """Return the title (empty without one) and the text of all pages.

    Raises UnreadableError for what is no PDF, is encrypted, or holds no text (scans, plots).
    """
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    if b"%PDF-" not in content[:1024]:
        raise UnreadableError("broken PDF", "no PDF header")
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("encrypted PDF")
        pages = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata and reader.metadata.title) or "").strip()
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # pypdf meets broken files with all of these
        raise UnreadableError("broken PDF", f"{type(error).__name__}: {error}"[:200]) from error
    text = _joined(pages)
    if len(text) < _MIN_CHARS_A_PAGE * max(len(pages), 1):
        raise UnreadableError("PDF without text", f"{len(pages)} pages, {len(text)} characters")
    return title, text


def _joined(pages: list[str]) -> str:
    lines = [[line.strip() for line in page.splitlines()] for page in pages]
    seen = Counter(line for page in lines for line in {*page[:2], *page[-2:]} if line)
    heads = {
        line
        for line, count in seen.items()
        if len(pages) > 3 and count > _RUNNING_HEAD_SHARE * len(pages)
    }
    kept = (
        "\n".join(line for line in page if line not in heads and not _PAGE_NUMBER.match(line))
        for page in lines
    )
    text = "\n\n".join(page for page in kept if page.strip())
    return _HYPHEN.sub(r"\1\2", text).strip() + "\n"
