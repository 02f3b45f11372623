"""A LAMMPS script as text: its logical commands, its identity, and where it is in a completion.

The parser follows LAMMPS's own `Input` class: `&` at a line's end continues the command, triple
quotes may span lines, `#` starts a comment outside quotes, words are split at blanks outside
single, double and triple quotes. Variables are not substituted: that needs LAMMPS.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^```[ \t]*([\w.+-]*)[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r'"""(.*?)"""|"([^"]*)"|\'([^\']*)\'|(\S+)', re.DOTALL)
_QUOTED = re.compile(r'""".*?"""|"[^"]*"|\'[^\']*\'|#.*', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word of a command; `start` and `end` are its place in the command's text, with quotes."""

    value: str
    start: int
    end: int
    quoted: bool


@dataclass(frozen=True, kw_only=True)
class Command:
    """One logical command. `lines` are the 0-based numbers of the physical lines [first, end)."""

    name: str
    arguments: tuple[str, ...]
    words: tuple[Word, ...]
    text: str  # continuation joined, comment removed
    lines: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script, parsed. `sha256` is the hexadecimal digest of its UTF-8 text."""

    text: str
    commands: tuple[Command, ...]

    @classmethod
    def parse(cls, text: str) -> "Script":
        """Split `text` into logical commands; never fails, unclosed quotes end at the line's end.

        >>> [c.name for c in Script.parse("units metal # a comment\\nrun &\\n 10").commands]
        ['units', 'run']
        """
        return cls(text=text, commands=tuple(_commands(text)))

    @property
    def sha256(self) -> str:
        """The script's identity."""
        import hashlib  # brings libcrypto, which every farm process would carry

        return hashlib.sha256(self.text.encode()).hexdigest()


def extract_script(completion_text: str) -> str | None:
    """Return the script in the first closed ```lammps block (else the first bare ``` block).

    None where there is none, or where it holds no command. The text ends with one newline.
    """
    bare = None
    for match in _FENCE.finditer(completion_text):
        language, body = match.group(1).lower(), match.group(2).rstrip() + "\n"
        if language in ("lammps", "lmp") and body.strip():
            return body
        if not language and bare is None and body.strip():
            bare = body
    return bare


def split_words(text: str) -> tuple[Word, ...]:
    """Split one logical command into words, quotes removed."""
    words = []
    for match in _WORD.finditer(text):
        value = next(group for group in match.groups() if group is not None)
        quoted = match.group(4) is None
        words.append(Word(value=value, start=match.start(), end=match.end(), quoted=quoted))
    return tuple(words)


def _commands(text: str) -> Iterator[Command]:
    for first, end, joined in _logical_lines(text):
        stripped = strip_comment(joined).strip()
        words = split_words(stripped)
        if words:
            arguments = tuple(word.value for word in words[1:])
            yield Command(
                name=words[0].value,
                arguments=arguments,
                words=words,
                text=stripped,
                lines=(first, end),
            )


def split_lines(text: str) -> list[str]:
    """Return the lines of a script, which end where LAMMPS thinks they do: at newlines only."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (first line, line after the last, joined text), as Input::file() reads them."""
    first, pieces, is_quoted = 0, [], False
    lines = split_lines(text)
    for number, line in enumerate(lines):
        line = line.rstrip()
        last = number == len(lines) - 1
        is_quoted ^= bool(line.count('"""') % 2)
        if line.endswith("&") and not last:
            pieces.append(line[:-1])
        elif is_quoted and not last:
            pieces.append(line + "\n")
        else:
            yield first, number + 1, "".join([*pieces, line.removesuffix("&")])
            first, pieces, is_quoted = number + 1, [], False


def strip_comment(text: str) -> str:
    """Remove what follows a `#` outside quotes."""
    return _QUOTED.sub(lambda m: "" if m.group().startswith("#") else m.group(), text)
