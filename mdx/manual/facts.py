"""What the manual says, as facts with the words that say it.

A fact: of `subject` (a style, a command, an error) the property `kind`, for the detail `key`, is
`value`. `truths` are all values that hold for the same subject and kind, so that none of them is
ever offered as a wrong answer. Extractors are strict: a page that is not written in the usual form
gives no fact.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mdx.manual.pages import (
    ACCELERATORS,
    ManualPage,
    category_of,
    paragraphs,
    plain,
    sentences,
)

_PACKAGE = re.compile(r"\b(?:is|are)\s+(?:only\s+)?part\s+of\s+the\s+([A-Z][A-Z0-9-]+)\s+package\b")
_DEFAULT = re.compile(
    r"(?:^|[\s,;(])([a-z][\w/]*)\s+=\s+"
    r"([A-Za-z0-9_./*+-]+(?: \* [\w/]+)?)(?=[,;)]|\.?$|\. |\s+and\s)"
)
_ARGUMENT = re.compile(r"^\s*\*?\s*([A-Za-z][\w-]*)\s+=\s+(.+)$")
_UNITS = re.compile(
    r"\((time|temperature|distance|energy|force|velocity|pressure|mass|charge) units\)"
)
_OUTPUT = re.compile(
    r"^This (?:compute|fix) (?:calculates|computes|produces|generates) (?:a|an) "
    r"((?:global|per-atom|local|per-grid) (?:scalar|vector|array))\b"
)
_UNIT_LINE = re.compile(r"^\* ([a-z ]+?) = (.+)$", re.MULTILINE)
_UNIT_STYLE = re.compile(r"^For style \*(\w+)\*", re.MULTILINE)
_ERROR = re.compile(r"^\*(.+)\*$\n((?:^[ \t]+\S.*$\n?)+)", re.MULTILINE)
_NO_MEANING = re.compile(r"see|below|same as|following|^one or|listed|\bor\b.*\bor\b| = |\$")
_ALTERNATIVES = re.compile(r"^[\w/*-]+(, [\w/*-]+)*,? or [\w/*-]+$")  # values, no meaning
_PLACEHOLDER = re.compile(r"%l?[ds]")  # LAMMPS prints a number or a name there
_VAGUE = re.compile(
    r"self.?explanatory|^see |described above|below|internal error|should not happen|"
    r"^(this|these) (is|are) (an? )?(current )?(requirement|restriction|limitation)|^something\b|"
    r"^these styles|this page|doc page|^\W|following|\bwww\b|^this command:|^n/?a\b",
    re.IGNORECASE,
)
_MAX_SENTENCE, _MIN_SENTENCE = 260, 40


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One statement of the manual; `quote` are the words of `page` that make it."""

    kind: str
    subject: str
    value: str
    page: ManualPage
    section: str
    quote: str
    key: str = ""
    truths: frozenset[str] = frozenset()

    @property
    def category(self) -> str:
        """Whose siblings may be wrong answers."""
        return category_of(self.subject)


def facts_of(pages: Iterable[ManualPage]) -> list[Fact]:
    """Return the facts of all pages in their order."""
    found: list[Fact] = []
    for page in pages:
        if page.name == "units":
            found += _units(page)
        elif page.name in ("Errors_messages", "Errors_warnings"):
            found += _errors(page)
        elif page.subjects and len(page.subjects[0].split(" ")) <= 2:
            for extract in _EXTRACTORS:
                found += extract(page)
    return found


def _package(page: ManualPage) -> Iterator[Fact]:
    heading, body = page.section("Restrictions")
    said = [s for p in paragraphs(body) for s in sentences(p) if _PACKAGE.search(s)]
    packages = {package for s in said for package in _PACKAGE.findall(s)}
    # one package for the whole page; a page that tells several apart is left alone
    if len(packages) != 1 or len(said) != 1 or not said[0].startswith(("This", "These", "All")):
        return
    if re.search(r"except|other than|\bsome\b|not part", said[0]):
        return
    (package,) = packages
    for subject in page.subjects:
        yield Fact(
            kind="package",
            subject=subject,
            value=package,
            page=page,
            section=heading,
            quote=said[0],
            truths=frozenset(packages),
        )


def _purpose(page: ManualPage) -> Iterator[Fact]:
    heading, body = page.section("Description")
    texts = paragraphs(body)
    if len(page.subjects) != 1 or not texts:
        return
    first = sentences(texts[0])[0]
    subject = page.subjects[0]
    if not _MIN_SENTENCE <= len(first) <= _MAX_SENTENCE or not first.endswith("."):
        return
    if re.search(r"[$\\`:]|this (page|section)|follow|above|below|\bsee\b|deprecated", first, re.I):
        return
    if re.match(r"(In|If|Note|When|For|It|These|Like|As|Since|With|The (args|style))\b", first):
        return
    yield Fact(
        kind="purpose",
        subject=subject,
        value=first,
        page=page,
        section=heading,
        quote=first,
        truths=frozenset([first]),
    )


def _defaults(page: ManualPage) -> Iterator[Fact]:
    heading, body = page.section("Default", "Defaults")
    texts = paragraphs(body)
    if len(page.subjects) != 1 or len(texts) != 1:
        return
    keywords = _keywords_of(page)
    for key, value in _DEFAULT.findall(texts[0]):
        value = value.rstrip(".")
        if key in keywords and value and len(re.findall(rf"\b{re.escape(key)} = ", texts[0])) == 1:
            yield Fact(
                kind="default",
                subject=page.subjects[0],
                key=key,
                value=value,
                page=page,
                section=heading,
                quote=texts[0],
                truths=frozenset([value]),
            )


def _keyword_list(page: ManualPage) -> str:
    """Return the lines that list a page's keywords, in markup."""
    _, body = page.section("Syntax")
    match = re.search(r"^[ *]*(keyword\w* = (?:.|\n(?!\s*\n|\s*\*\w|\*))+)", body, re.MULTILINE)
    return match[1] if match else ""


def _keywords_of(page: ManualPage) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\*([a-z][\w/]*)\*", _keyword_list(page))))


def _keywords(page: ManualPage) -> Iterator[Fact]:
    heading, _ = page.section("Syntax")
    names = _keywords_of(page)
    if len(page.subjects) != 1 or len(names) < 2:
        return
    for name in names:
        yield Fact(
            kind="keyword",
            subject=page.subjects[0],
            value=name,
            page=page,
            section=heading,
            quote=plain(_keyword_list(page)),
            truths=frozenset(names),
        )


def _syntax_line(page: ManualPage) -> str:
    _, body = page.section("Syntax")
    lines = [x.strip() for x in body.split("\n") if x.startswith("   ") and x.strip()]
    head = page.subjects[0].split(" ")[0]
    return lines[0] if lines and lines[0].split()[0] == head else ""


def _arguments(page: ManualPage) -> list[str]:
    """Return the names of the positional arguments after the style (or the command)."""
    line = _syntax_line(page)
    words = line.split()
    style = page.subjects[0].split(" ")[-1]
    if style not in words or "..." in words[: words.index(style)]:
        return []
    after = words[words.index(style) + 1 :]
    stop = next(
        (i for i, w in enumerate(after) if w in ("...", "args") or w.startswith("keyword")),
        len(after),
    )
    names = after[:stop]
    good = all(re.fullmatch(r"[A-Za-z][\w-]*", name) for name in names)
    return names if good and len(set(names)) == len(names) else []


def _syntax(page: ManualPage) -> Iterator[Fact]:
    heading, _ = page.section("Syntax")
    names = _arguments(page) if len(page.subjects) == 1 else []
    if len(names) >= 2 and not re.search(r"\d$", names[-1]):
        line = plain(_syntax_line(page))
        yield Fact(
            kind="syntax",
            subject=page.subjects[0],
            value=line,
            key=" ".join(names),
            page=page,
            section=heading,
            quote=line,
            truths=frozenset([line]),
        )


def _argument_meanings(page: ManualPage) -> Iterator[Fact]:
    heading, body = page.section("Syntax")
    names = _arguments(page) if len(page.subjects) == 1 else []
    said: dict[str, tuple[str, str]] = {}
    for line in body.split("\n"):
        match = _ARGUMENT.match(line) if line.startswith("* ") else None
        if match and match[1] in names:
            said.setdefault(match[1], (plain(match[2]), plain(line[2:])))
    truths = frozenset(value for value, _ in said.values())
    for key, (value, quote) in said.items():
        vague = _NO_MEANING.search(value) or _ALTERNATIVES.search(value)
        if 12 <= len(value) <= 160 and " " in value and not vague:
            yield Fact(
                kind="argument",
                subject=page.subjects[0],
                key=key,
                value=value,
                page=page,
                section=heading,
                quote=quote,
                truths=truths,
            )
        units = _UNITS.findall(quote)
        if len(units) == 1:
            yield Fact(
                kind="argument_units",
                subject=page.subjects[0],
                key=key,
                value=units[0],
                page=page,
                section=heading,
                quote=quote,
                truths=frozenset(units),
            )


def _output(page: ManualPage) -> Iterator[Fact]:
    heading, body = page.section("Output info")
    if len(page.subjects) != 1 or category_of(page.subjects[0]) not in ("compute", "fix"):
        return
    kinds = set(re.findall(r"(global|per-atom|local) (scalar|vector|array)", plain(body)))
    said = [s for p in paragraphs(body) for s in sentences(p) if _OUTPUT.match(s)]
    if len(kinds) == 1 and len(said) == 1 and not re.search(r" or | and ", said[0].split(",")[0]):
        value = _OUTPUT.match(said[0])
        assert value is not None
        yield Fact(
            kind="output",
            subject=page.subjects[0],
            value=value[1],
            page=page,
            section=heading,
            quote=said[0],
            truths=frozenset([value[1]]),
        )


_YES_NO = {
    "restart": (
        re.compile(r"^This fix writes .*binary restart files"),
        re.compile(r"^No information about this fix is written to binary restart files"),
    ),
    "minimize": (
        re.compile(r"^This fix is invoked during energy minimization\.$"),
        re.compile(r"^This fix is not invoked during energy minimization\.$"),
    ),
}


def _yes_no(page: ManualPage) -> Iterator[Fact]:
    if len(page.subjects) != 1 or category_of(page.subjects[0]) != "fix":
        return
    for heading, body in page.sections.items():
        if not heading.startswith("Restart, fix_modify"):
            continue
        said = [s for p in paragraphs(body) for s in sentences(p)]
        for kind, (yes, no) in _YES_NO.items():
            found = [("yes", s) for s in said if yes.match(s)]
            found += [("no", s) for s in said if no.match(s)]
            if len(found) == 1:
                value, quote = found[0]
                yield Fact(
                    kind=kind,
                    subject=page.subjects[0],
                    value=value,
                    page=page,
                    section=heading,
                    quote=quote,
                    truths=frozenset([value]),
                )


def _accelerated(page: ManualPage) -> Iterator[Fact]:
    match = re.search(r"^Accelerator Variants?: (.+)$", page.text, re.MULTILINE)
    if len(page.subjects) != 1 or not match:
        return
    style = page.subjects[0].split(" ")[-1]
    quote = plain(match[0])
    names = [name for name in re.findall(r"\*([\w/]+)\*", match[1]) if name.startswith(f"{style}/")]
    suffixes = frozenset(name.removeprefix(f"{style}/") for name in names)
    if suffixes and suffixes <= set(ACCELERATORS):
        for suffix in sorted(suffixes):
            yield Fact(
                kind="accelerated",
                subject=page.subjects[0],
                value=f"{style}/{suffix}",
                key=style,
                page=page,
                section=page.title,
                quote=quote,
                truths=frozenset(f"{style}/{s}" for s in suffixes),
            )


def _units(page: ManualPage) -> Iterator[Fact]:
    parts = _UNIT_STYLE.split(page.text)
    for style, body in zip(parts[1::2], parts[2::2], strict=True):
        if style == "lj":
            continue  # reduced units are formulas
        for quantity, unit in _UNIT_LINE.findall(body):
            value = plain(unit)
            yield Fact(
                kind="units",
                subject=f"units {style}",
                key=quantity.strip(),
                value=re.sub(r"\s+\(.*\)$", "", value),
                page=page,
                section="Description",
                quote=plain(f"{quantity} = {unit}"),
                truths=frozenset([value]),
            )


def _errors(page: ManualPage) -> Iterator[Fact]:
    for message, body in _ERROR.findall(page.text):
        said, value = _PLACEHOLDER.sub("...", plain(message)), plain(body)
        first = " ".join(sentences(value)[:3])
        if not 40 <= len(first) <= 320 or _VAGUE.search(first) or len(said) < 15:
            continue
        kind = "error" if page.name == "Errors_messages" else "warning"
        yield Fact(
            kind=kind,
            subject=said,
            value=first,
            page=page,
            section=page.title,
            quote=first,
            truths=frozenset([first]),
        )


_EXTRACTORS = (
    *(_package, _purpose, _defaults, _keywords, _syntax, _argument_meanings, _output, _yes_no),
    _accelerated,
)
