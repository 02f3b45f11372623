"""HTML manuals -> Markdown-like text: the article alone, without navigation and page furniture."""

import re
import warnings
from collections.abc import Callable, Iterable

from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning
from bs4.element import NavigableString, PageElement, PreformattedString, Tag

_FURNITURE = (
    *("script", "style", "nav", "header", "footer", "aside", "noscript", "template", "form"),
    *("button", "iframe", "svg", "img", "select", "input"),
)
_FURNITURE_CLASSES = re.compile(
    r"(^|[-_ ])(sidebar|toc|toctree-wrapper|breadcrumbs?|headerlink|nav(bar|igation)?|related|"
    r"footer|search(box)?|copyright|wy-nav-side|rst-footer-buttons|linenos|accelerator|cookie)"
    r"($|[-_ ])"
)
_ARTICLES = (
    *('[itemprop="articleBody"]', '[role="main"]', "main", "article"),
    *("div.document", "div.body", "#content"),
)
_BLOCKS = (
    *("p", "div", "section", "article", "main", "ul", "ol", "dl", "pre", "table", "blockquote"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "li", "dt", "dd", "body", "figure", "hr"),
)
_BLANK_LINES = re.compile(r"\n{3,}")
_MAX_DEPTH = 200


def read_html(content: bytes | str) -> tuple[str, str]:
    """Return the title (empty without one) and the text of the page's article."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        page = BeautifulSoup(content, "lxml")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    for tag in page.find_all(_FURNITURE):
        tag.decompose()
    for tag in page.find_all(class_=_FURNITURE_CLASSES):
        if tag.name not in ("body", "html"):
            tag.decompose()
    article = next((found for css in _ARTICLES if (found := page.select_one(css))), page.body)
    if article is None:
        return title, page.get_text(" ", strip=True)
    heading = article.find("h1")
    title = heading.get_text(" ", strip=True) if heading else title
    text = "\n\n".join(_blocks(article, 0))
    return title, _BLANK_LINES.sub("\n\n", text).strip() + "\n"


def _blocks(tag: Tag, depth: int) -> list[str]:
    """Return the blocks inside `tag`; runs of inline elements between them are one block each."""
    if depth > _MAX_DEPTH:
        return [tag.get_text(" ", strip=True)]
    blocks: list[str] = []
    inline: list[PageElement] = []
    for child in tag.children:
        if isinstance(child, Tag) and (child.name in _BLOCKS or child.find(_BLOCKS)):
            blocks += _running(inline)
            inline = []
            block = _block(child, depth + 1)
            blocks += [block] if block.strip() else []
        elif not isinstance(child, PreformattedString):  # comments, doctypes
            inline.append(child)
    return blocks + _running(inline)


def _running(elements: Iterable[PageElement]) -> list[str]:
    text = "".join(e if isinstance(e, NavigableString) else e.get_text() for e in elements)
    text = " ".join(text.split())
    return [text] if text else []


def _block(tag: Tag, depth: int) -> str:
    if tag.name in _RENDERERS:
        return _RENDERERS[tag.name](tag, depth)
    if re.fullmatch("h[1-6]", tag.name):
        return f"{'#' * int(tag.name[1])} {' '.join(tag.get_text(' ', strip=True).split())}"
    return "\n\n".join(_blocks(tag, depth))


def _pre(tag: Tag, depth: int) -> str:
    around = " ".join(
        name for parent in (tag, *list(tag.parents)[:2]) for name in parent.get("class") or []
    )
    match = re.search(r"highlight-([A-Za-z]+)", around)
    language = match[1].lower() if match and match[1].lower() not in ("default", "none") else ""
    return f"```{language}\n{tag.get_text().strip(chr(10))}\n```"


def _bullets(tag: Tag, depth: int) -> str:
    items = ["\n".join(_blocks(item, depth)) for item in tag.find_all("li", recursive=False)]
    marks = [f"{i}." if tag.name == "ol" else "*" for i in range(1, len(items) + 1)]
    return "\n".join(f"{m} {_indented(t)}" for m, t in zip(marks, items, strict=True) if t.strip())


def _definitions(tag: Tag, depth: int) -> str:
    lines = []
    for child in tag.find_all(["dt", "dd"], recursive=False):
        text = "\n".join(_blocks(child, depth))
        lines.append(text if child.name == "dt" else f"  {_indented(text)}")
    return "\n".join(lines)


def _table(tag: Tag, depth: int) -> str:
    rows = []
    for row in tag.find_all("tr"):
        cells = [" ".join(c.get_text(" ", strip=True).split()) for c in row.find_all(["td", "th"])]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


_RENDERERS: dict[str, Callable[[Tag, int], str]] = {
    "pre": _pre,
    "ul": _bullets,
    "ol": _bullets,
    "dl": _definitions,
    "table": _table,
}
