"""Clean a text: one form of characters and blanks, licence notices taken out and kept apart.

A licence notice (of the file, not a text about licences) is a paragraph or a block of comment lines
that names a copyright or a licence in the words that notices use. It becomes metadata: models
need not learn it thousands of times, and the record still tells who wrote what.
"""

import re
import unicodedata
from dataclasses import dataclass

from mdx.chat import SPECIAL_TOKENS

_NOTICE = re.compile(
    r"(copyright\s*(\(c\)|©|\d{4}|\([12]\d{3}\))|all rights reserved|"
    r"distributed under the (terms of the )?\w+|gnu (lesser )?general public licen[cs]e|"
    r"spdx-license-identifier|licensed under the|without warranty of any kind|"
    r"permission is hereby granted|redistributions? (of|in) (source|binary))",
    re.IGNORECASE,
)
_MAX_NOTICE_CHARS = 3_000
_HEAD_CHARS = 6_000  # notices stand at the beginning ...
_TAIL_CHARS = 1_500  # ... or at the end
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028\u2029\u202a-\u202e\u2060\ufeff\ufffd]")
_SPECIAL = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))
_TRAILING = re.compile(r"[ \t\u00a0]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_OPEN_FENCE = re.compile(r"\A(```\w*)\n\s*\n")  # where a notice stood at a script's head
_RULES = re.compile(r"^[ \t]*[#*/!|]*[ \t]*([-=*#_~+])\1{7,}[ \t]*[#*/!|]*$\n?", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """The text, and the licence notices that it carried (empty if none)."""

    text: str
    notice: str


def clean(text: str) -> Cleaned:
    """Return `text` in one form: NFC, no invisible characters, no special tokens, few blanks.

    A second cleaning changes nothing.
    """
    text = unicodedata.normalize("NFC", text)
    text = _SPECIAL.sub("", _INVISIBLE.sub("", text)).replace("\u00a0", " ")
    text = _RULES.sub("", text)
    text, notice = _without_notices(text)
    text = _OPEN_FENCE.sub(r"\1\n", text)
    text = _BLANK_LINES.sub("\n\n", _TRAILING.sub("", text)).strip("\n")
    return Cleaned(text=text + "\n" if text.strip() else "", notice=notice)


def _without_notices(text: str) -> tuple[str, str]:
    """Take the paragraphs that are notices out of the beginning and the end of `text`."""
    kept, notices, place = [], [], 0
    for paragraph in re.split(r"(\n[ \t#*]*\n)", text):
        near_edge = place < _HEAD_CHARS or place > len(text) - _TAIL_CHARS
        place += len(paragraph)
        is_notice = len(paragraph) < _MAX_NOTICE_CHARS and _NOTICE.search(paragraph)
        if near_edge and is_notice and _is_prose(paragraph):
            fence = paragraph.startswith("```") and paragraph.split("\n")[0]
            kept.append(fence or "")
            notices.append(paragraph.strip("\n"))
        else:
            kept.append(paragraph)
    return "".join(kept), "\n\n".join(notices)


def _is_prose(paragraph: str) -> bool:
    """Tell that no line is a command: each begins as comments or sentences do."""
    lines = [line for line in paragraph.split("\n") if line.strip() and not line.startswith("```")]
    comments = sum(line.lstrip().startswith(("#", "//", "/*", "*", "!")) for line in lines)
    if comments in (0, len(lines)):
        return "```" not in paragraph[3:]
    return False
