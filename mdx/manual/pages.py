"""Pages of LAMMPS's manual in reStructuredText, as far as questions need them.

A page has sections by heading (Syntax, Description, Restrictions, Default, ...) and subjects: the
commands and styles that its index names, without accelerated variants. `plain` turns markup into
the words that a reader sees; quotes are cut from plain text, so that they can be found again.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ACCELERATORS = ("gpu", "intel", "kk", "kk/device", "kk/host", "omp", "opt")
_STYLE_CATEGORIES = (
    *("fix", "compute", "pair_style", "bond_style", "angle_style", "dihedral_style", "dump"),
    *("improper_style", "kspace_style", "atom_style", "region", "min_style", "run_style"),
)
_UNDERLINE = re.compile(r"^([=\-\"^~'`*+#.])\1{2,}\s*$")
_INDEX = re.compile(r"^\.\. index:: *(.+?)\s*$", re.MULTILINE)
_TITLED_ROLE = re.compile(r":[a-z:]+:`([^`<]+?)\s*<[^`>]+>`", re.DOTALL)
_MATHS_ROLE = re.compile(r":math:`([^`]+)`", re.DOTALL)
_ROLE = re.compile(r":[a-z:]+:`([^`]+)`", re.DOTALL)
_LITERAL = re.compile(r"``([^`]+)``")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?", re.DOTALL)
_EMPHASIS = re.compile(r"(?<![\w\\*])\*{1,2}([^\s*][^*\n]*?)\*{1,2}(?![\w*])")
_REFERENCE = re.compile(r"`([^`]+)`__?")
_WORD = re.compile(r"\w+")
_ESCAPED = re.compile(r"\\ |\\(.)")


@dataclass(frozen=True, kw_only=True)
class ManualPage:
    """One page. `name` is its file's name without `.rst`; `sections` maps headings to markup."""

    name: str
    title: str
    text: str
    sections: Mapping[str, str]
    subjects: tuple[str, ...]
    sha256: str

    @cached_property
    def plain(self) -> str:
        """The page in the words that a reader sees, in one line."""
        return plain(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of the page, as they are written."""
        return frozenset(_WORD.findall(self.text))

    def may_name(self, name: str) -> bool:
        """Tell whether every part of `name` is a word of the page: if not, it is not named."""
        return self.words.issuperset(_WORD.findall(name))

    def section(self, *names: str) -> tuple[str, str]:
        """Return (heading, markup) of the first section of one of these names; empty if none."""
        for heading, body in self.sections.items():
            if heading.lower().rstrip("s") in [name.lower().rstrip("s") for name in names]:
                return heading, body
        return "", ""


def read_pages(folder: str) -> Iterator[ManualPage]:
    """Yield the pages of the manual in `folder`, sorted by name; unreadable ones are left out."""
    for path in sorted(Path(folder).glob("*.rst")):
        try:
            content = path.read_bytes()
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # the corpus's report names it
        yield parse_page(path.stem, text, hashlib.sha256(content).hexdigest())


def parse_page(name: str, text: str, sha256: str = "") -> ManualPage:
    """Return the page with this text."""
    title, sections = _sections(text)
    return ManualPage(
        name=name,
        title=title,
        text=text,
        sections=sections,
        subjects=_subjects(text),
        sha256=sha256,
    )


def plain(markup: str) -> str:
    """Return the words that a reader sees, with single blanks between them."""
    text = _MATHS_ROLE.sub(r"$\1$", markup)
    text = _TITLED_ROLE.sub(r"\1", text)
    text = _ROLE.sub(r"\1", text)
    text = _LITERAL.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _EMPHASIS.sub(r"\1", text)
    text = _REFERENCE.sub(r"\1", text)
    text = _ESCAPED.sub(lambda m: m[1] or "", text)
    return " ".join(text.split())


def paragraphs(markup: str) -> list[str]:
    """Return the plain paragraphs of a section that are prose: no lists, code or directives."""
    found = []
    for block in re.split(r"\n\s*\n", markup):
        if block.strip() and not block.startswith((" ", "\t", "..", "*", "-", "|", "+", "#")):
            found.append(plain(block))
    return found


def sentences(text: str) -> list[str]:
    """Split plain text into sentences."""
    parts = re.split(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!vs)(?<!Eq)(?<=[.!?])\s+(?=[A-Z\"(])", text)
    return [part.strip() for part in parts if part.strip()]


def category_of(subject: str) -> str:
    """Return "fix" of "fix nvt", "pair_style" of "pair_style lj/cut", else "command"."""
    head, _, style = subject.partition(" ")
    return head if style and head in _STYLE_CATEGORIES else "command"


def _sections(text: str) -> tuple[str, dict[str, str]]:
    lines = text.split("\n")
    title, heading = "", ""
    sections: dict[str, list[str]] = {}
    skip = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if skip:
            skip = False
            continue
        if line.strip() and not line.startswith((" ", "..")) and _UNDERLINE.match(following):
            heading, skip = plain(line), len(following.strip()) >= len(line.strip()) - 2
            if skip:
                title = title or heading
                sections.setdefault(heading, [])
                continue
        if heading:
            sections[heading].append(line)
    return title, {name: "\n".join(body) for name, body in sections.items()}


def _subjects(text: str) -> tuple[str, ...]:
    names = []
    for entry in _INDEX.findall(text):
        subject = " ".join(entry.removesuffix(" command").split())
        if not subject.endswith(tuple(f"/{suffix}" for suffix in ACCELERATORS)):
            names.append(subject)
    return tuple(dict.fromkeys(names))
