"""Which documents are worth learning from: language, length, symbols and repetition.

Measures are of the text outside code fences where there is enough of it, since commands and tables
are no prose. Rules follow those of Gopher and C4 (Rae et al. 2021, arXiv 2112.11446; Raffel et al.
2020, arXiv 1910.10683), with bounds that a manual full of formulas passes.
"""

import re
from collections import Counter

from mdx.corpus.config import FilterConfig

_FENCE = re.compile(r"^[ \t]*```.*?^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
_MATHS = re.compile(r"\$\$?[^$]*\$\$?")
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_CJK = re.compile(r"[\u3400-\u9fff]")
_REPEATED_WORDS = 8
_MIN_PROSE_WORDS = 30  # fewer say too little about a language
_LANGUAGE_CHARS = 4_000


def words_of(text: str) -> list[str]:
    """Return the words of `text` in lower case; each Chinese character is a word."""
    return [
        part
        for word in _WORD.findall(text.lower())
        for part in (_CJK.sub(lambda m: f" {m[0]} ", word).split() if _CJK.search(word) else [word])
    ]


def prose_of(text: str) -> str:
    """Return `text` without fenced code and mathematics."""
    return _MATHS.sub(" ", _FENCE.sub("\n", text))


def language_of(text: str) -> str:
    """Return the ISO 639-1 code of the prose of `text`; empty where there is too little of it."""
    prose = prose_of(text)
    if len(words_of(prose)) < _MIN_PROSE_WORDS:
        return ""
    from py3langid import classify

    code, _ = classify(prose[:_LANGUAGE_CHARS])
    return str(code)


def fault_of(text: str, language: str, config: FilterConfig) -> str:
    """Return why `text` is not worth keeping, or an empty text."""
    words = words_of(text)
    if len(words) < config.min_words:
        return "too short"
    letters = sum(map(str.isalpha, text))
    digits = sum(map(str.isdigit, text))
    symbols = len(text) - letters - digits - sum(map(str.isspace, text))
    if symbols > config.max_symbol_share * len(text):
        return "mostly symbols"
    if digits > config.max_number_share * (letters + digits):
        return "mostly numbers"
    if language and config.languages and language not in config.languages:
        return "other language"
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(text) > config.max_mean_line_chars * len(lines):
        return "long lines"
    repeated = sum(n - 1 for line, n in Counter(lines).items() if len(line) > 3)
    if len(lines) > 10 and repeated > config.max_repeated_line_share * len(lines):
        return "repeated lines"
    if _repeated_ngram_share(words) > config.max_repeated_ngram_share:
        return "repeated phrases"
    return ""


def _repeated_ngram_share(words: list[str]) -> float:
    runs = [tuple(words[i : i + _REPEATED_WORDS]) for i in range(len(words) - _REPEATED_WORDS + 1)]
    return 1.0 - len(set(runs)) / len(runs) if runs else 0.0
