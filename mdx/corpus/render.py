"""A docutils document -> text in the manner of Markdown: headings, fences, lists, tables."""

import re
from collections.abc import Callable, Iterable

from docutils import nodes

_INVISIBLE = (
    *(nodes.comment, nodes.target, nodes.system_message, nodes.substitution_definition),
    *(nodes.image, nodes.raw, nodes.pending, nodes.topic, nodes.transition),
)
_BLANK_LINES = re.compile(r"\n{3,}")


def render(document: nodes.document) -> str:
    """Return the document as text."""
    text = "\n\n".join(_blocks(document.children, 1))
    return _BLANK_LINES.sub("\n\n", text).strip() + "\n"


def _blocks(children: Iterable[nodes.Node], depth: int) -> list[str]:
    return [text for child in children if (text := _block(child, depth))]


def _block(node: nodes.Node, depth: int) -> str:
    if isinstance(node, _INVISIBLE):
        return ""
    if isinstance(node, nodes.section):
        return "\n\n".join(_blocks(node.children, depth + 1))
    if isinstance(node, nodes.title):
        return f"{'#' * max(depth - 1, 1)} {_inline(node)}"
    for kind, rendered in _RENDERERS.items():
        if isinstance(node, kind):
            return rendered(node, depth)
    if isinstance(node, nodes.TextElement):
        return _inline(node)
    if isinstance(node, nodes.Element):
        return "\n\n".join(_blocks(node.children, depth))
    return node.astext().strip()


def _inline(node: nodes.Node) -> str:
    """Return running text: mathematics between dollars, everything else without marks."""
    if isinstance(node, nodes.math):
        return f"${node.astext()}$"
    if isinstance(node, nodes.literal):
        return f"`{node.astext()}`"
    if isinstance(node, nodes.problematic | nodes.system_message):
        return node.astext() if isinstance(node, nodes.problematic) else ""
    if isinstance(node, nodes.Text):
        return node.astext()
    if isinstance(node, nodes.image):
        return ""
    text = "".join(_inline(child) for child in node.children)
    return text if isinstance(node, nodes.Inline) else " ".join(text.split())


def _fence(node: nodes.Node, depth: int) -> str:
    assert isinstance(node, nodes.literal_block)
    body = node.astext().strip("\n")
    return f"```{node.get('language', '')}\n{body}\n```" if body.strip() else ""


def _math(node: nodes.Node, depth: int) -> str:
    return f"$$\n{node.astext().strip()}\n$$"


def _bullets(node: nodes.Node, depth: int) -> str:
    items = ("\n".join(_blocks(item.children, depth)) for item in node.children)
    return "\n".join(f"* {_indented(item, 2)}" for item in items if item.strip())


def _numbers(node: nodes.Node, depth: int) -> str:
    items = ("\n".join(_blocks(item.children, depth)) for item in node.children)
    return "\n".join(f"{i}. {_indented(item, 3)}" for i, item in enumerate(items, 1))


def _definition(node: nodes.Node, depth: int) -> str:
    terms = [_inline(c) for c in node.children if isinstance(c, nodes.term | nodes.field_name)]
    bodies = [c for c in node.children if isinstance(c, nodes.definition | nodes.field_body)]
    text = "\n".join(block for body in bodies for block in _blocks(body.children, depth))
    return f"{', '.join(terms)}\n  {_indented(text, 2)}" if text else ", ".join(terms)


def _admonition(node: nodes.Node, depth: int) -> str:
    name = type(node).__name__.capitalize()
    text = "\n\n".join(_blocks(node.children, depth))
    return text if name == "Admonition" else f"{name}: {text}"


def _table(node: nodes.Node, depth: int) -> str:
    assert isinstance(node, nodes.Element)
    rows = []
    for row in node.findall(nodes.row):
        cells = [" ".join(" ".join(_blocks(e.children, depth)).split()) for e in row.children]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _quote(node: nodes.Node, depth: int) -> str:
    return "\n\n".join(_blocks(node.children, depth))


def _lines(node: nodes.Node, depth: int) -> str:
    return "\n".join(_blocks(node.children, depth))


def _indented(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)


_RENDERERS: dict[type[nodes.Node], Callable[[nodes.Node, int], str]] = {
    nodes.literal_block: _fence,
    nodes.doctest_block: _quote,
    nodes.math_block: _math,
    nodes.bullet_list: _bullets,
    nodes.enumerated_list: _numbers,
    nodes.definition_list_item: _definition,
    nodes.field: _definition,
    nodes.definition_list: _lines,
    nodes.Admonition: _admonition,
    nodes.table: _table,
    nodes.block_quote: _quote,
    nodes.line_block: _lines,
}
