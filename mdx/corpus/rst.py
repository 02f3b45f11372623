"""reStructuredText as Sphinx writes it -> Markdown-like text, through docutils.

Sphinx's own directives and roles are taught to docutils one by one: code blocks, tabs, tables from
lists and admonitions keep their content; cross-references become their title (or their target's
words); indexes, tables of contents and what is generated from C++ sources are left out. Nothing is
included from other files and nothing raw is taken over, so that a page can reach no other file.
Unknown directives keep their content, unknown roles their text.
"""

import io
import re
from typing import Any, ClassVar

from docutils import nodes, utils
from docutils.frontend import get_default_settings
from docutils.parsers.rst import Directive, Parser, directives, roles

from mdx.corpus.render import render

_DROPPED = (
    *("index", "toctree", "contents", "include", "image", "raw", "only", "highlight"),
    *("doxygenfunction", "doxygenclass", "doxygenenum", "doxygenunion", "doxygenfile"),
    *("doxygentypedef", "doxygenstruct", "doxygendefine", "autoclass", "automodule"),
    *("autofunction", "py:module", "py:currentmodule", "sectionauthor", "footbibliography"),
)
_CODE = ("code-block", "code", "sourcecode", "highlight-block")
_CONTAINERS = (
    *("tab", "tabs", "group-tab", "seealso", "table_from_list", "figure", "container"),
    *("py:data", "py:function", "py:class", "f:subroutine", "f:function", "f:type", "f:module"),
    *("cpp:class", "c:function", "details", "dropdown"),
)
_NAMED = {"versionadded": "Added in", "versionchanged": "Changed in", "deprecated": "Deprecated in"}
_TITLED_TARGET = re.compile(r"^(?P<title>.+?)\s*<(?P<target>[^<>]+)>$", re.DOTALL)
_ROLE = re.compile(r":([a-zA-Z][a-zA-Z0-9_:+-]*):`")
_DIRECTIVE = re.compile(r"^\s*\.\. ([a-zA-Z][a-zA-Z0-9_:+-]*)::", re.MULTILINE)
_KEPT_ROLES = ("math", "sub", "sup", "subscript", "superscript", "emphasis", "strong", "literal")


class _Dropped(Directive):
    optional_arguments, final_argument_whitespace, has_content = 1, True, True
    option_spec: ClassVar[Any] = None

    def run(self) -> list[nodes.Node]:
        return []


class _Code(_Dropped):
    def run(self) -> list[nodes.Node]:
        # options (":linenos:") come first, up to a blank line; they are no code
        lines = list(self.content)
        text = "\n".join(lines)
        block = nodes.literal_block(text, text)
        block["language"] = (self.arguments or [""])[0].strip().lower()
        return [block]


class _Container(_Dropped):
    def run(self) -> list[nodes.Node]:
        holder = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, holder)
        title = " ".join(self.arguments).strip()
        named = [nodes.paragraph(title, title)] if title and self.name not in ("tabs",) else []
        return [*named, *holder.children] if self.name != "figure" else holder.children


class _Version(_Dropped):
    def run(self) -> list[nodes.Node]:
        text = f"{_NAMED[self.name]} version {' '.join(self.arguments)}."
        holder = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, holder)
        return [nodes.paragraph(text, text), *holder.children]


def _text_role(name: str, rawtext: str, text: str, *_: Any, **__: Any) -> tuple[list, list]:
    plain = utils.unescape(text)
    match = _TITLED_TARGET.match(plain)
    title = match["title"] if match else plain.lstrip("~!")
    return [nodes.Text(" ".join(title.split()))], []


def _register(text: str) -> None:
    """Teach docutils Sphinx's names, and those of `text` that nobody knows."""
    for name in _DROPPED:
        directives.register_directive(name, _Dropped)
    for name in _CODE:
        directives.register_directive(name, _Code)
    for name in _CONTAINERS:
        directives.register_directive(name, _Container)
    for name in _NAMED:
        directives.register_directive(name, _Version)
    known = {*directives._directive_registry, *directives._directives}
    for name in set(_DIRECTIVE.findall(text)) - known:
        directives.register_directive(name, _Container)
    for name in set(_ROLE.findall(text)) - set(_KEPT_ROLES):
        roles.register_local_role(name, _text_role)


def read_rst(text: str) -> tuple[str, str]:
    """Return the title (empty without one) and the text of a page."""
    _register(text)
    settings = get_default_settings(Parser)
    settings.report_level = settings.halt_level = 5  # a slip in the markup is no failure
    settings.warning_stream = io.StringIO()
    settings.file_insertion_enabled = settings.raw_enabled = False
    settings.line_length_limit = 10**9  # `check_lines` decides
    document = utils.new_document("page", settings)
    Parser().parse(text, document)
    title = document.next_node(nodes.title)
    return (title.astext() if title is not None else ""), render(document)
