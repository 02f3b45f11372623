"""Checks that every question passes before it is kept, and how well blind guessing does.

`keep_sound` drops what is ambiguous, untraceable or asked before; the reasons are counted. Blind
baselines show what a model scores that reads no question: they must be near chance.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mdx.manual.options import similarity, words_in
from mdx.manual.pages import ManualPage
from mdx.manual.questions import ManualQuestion

_SAME_MESSAGE = 0.8  # similarity of two messages or sentences from which the later is left out
_MAX_OPTION_CHARS = 400


def keep_sound(
    questions: Iterable[ManualQuestion],
    pages: Mapping[str, ManualPage],
    dropped: Counter[str],
) -> Iterator[ManualQuestion]:
    """Yield the questions that pass; count the others in `dropped` by reason."""
    asked: set[str] = set()
    answers: dict[str, set[str]] = defaultdict(set)
    alike = _Alike()
    for item in questions:
        key = f"{item.language} {' '.join(item.question.lower().split())}"
        fault = fault_of(item, pages[item.page])
        if not fault and item.type != "multiple_choice" and key in answers:
            if item.answer_text in answers[key]:
                fault = "asked before"
            elif item.type in ("open_qa", "fill_blank"):
                fault = "two answers to one question"
        if not fault and f"{key} {sorted(item.options)}" in asked:
            fault = "asked before"
        if not fault and item.kind in ("error", "warning") and alike.repeats(item):
            fault = "nearly the same as another"
        if fault:
            dropped[fault] += 1
            continue
        answers[key].add(item.answer_text)
        asked.add(f"{key} {sorted(item.options)}")
        yield item


class _Alike:
    """Messages that differ by a word have one question of each type."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)

    def repeats(self, item: ManualQuestion) -> bool:
        subject = item.group.split("/", 1)[1]
        seen = self._seen[item.type, item.kind]
        size = len(words_in(subject))
        low, high = _SAME_MESSAGE * size, size / _SAME_MESSAGE  # else it cannot be so similar
        near = (other for size, other in seen if low <= size <= high and other != subject)
        if any(similarity(subject, other) >= _SAME_MESSAGE for other in near):
            return True
        seen.append((size, subject))
        return False


def fault_of(item: ManualQuestion, page: ManualPage) -> str:
    """Return what is wrong with a question, or an empty text."""
    if item.quote not in page.plain or item.page_sha256 != page.sha256:
        return "the quote is not on the page"
    if not item.answer.strip() or re.search(r"[`:*]{2}|\\\w", item.question + item.answer_text):
        return "markup in the text"
    if item.type in ("single_choice", "multiple_choice"):
        return _choice_fault(item)
    if item.type == "fill_blank" and not _is_open(item):
        return "the question tells its answer"
    return ""


def _choice_fault(item: ManualQuestion) -> str:
    normal = [" ".join(option.lower().split()) for option in item.options]
    if len(set(normal)) != len(normal):
        return "two options are the same"
    if max(map(len, item.options)) > _MAX_OPTION_CHARS:
        return "an option is too long"
    letters = item.answer.split(", ")
    right = [item.options[ord(letter) - ord("A")] for letter in letters]
    if ", ".join(right) != item.answer_text or len(letters) > len(item.options):
        return "letters and answer differ"
    if item.type == "single_choice" and any(
        option != right[0] and option.lower() in item.quote.lower() and item.kind == "default"
        for option in item.options
        if not option.isdigit() and len(option) > 3
    ):
        return "a wrong option is in the quote"
    return ""


def _is_open(item: ManualQuestion) -> bool:
    """Tell that the answer does not stand in the question outside the subject's name."""
    words = re.findall(r"[\w/.^*-]+", item.question.lower())
    return item.kind in ("default", "units", "argument_units") or item.answer.lower() not in words


def blind_baselines(questions: Sequence[ManualQuestion]) -> dict[str, Any]:
    """Return for single choices: their number, chance, and what blind strategies score.

    `longest` is the share won by always taking the longest option (a tie counts its share), and
    `shortest` likewise; `majority_letter` by always taking the most frequent letter.
    """
    single = [q for q in questions if q.type == "single_choice"]
    if not single:
        return {"num_questions": 0}
    letters = Counter(q.answer for q in single)
    return {
        "num_questions": len(single),
        "chance": round(sum(1 / len(q.options) for q in single) / len(single), 4),
        "longest": round(sum(_won(q, max) for q in single) / len(single), 4),
        "shortest": round(sum(_won(q, min) for q in single) / len(single), 4),
        "majority_letter": round(letters.most_common(1)[0][1] / len(single), 4),
    }


def _won(item: ManualQuestion, extreme: Any) -> float:
    length = extreme(map(len, item.options))
    chosen = [option for option in item.options if len(option) == length]
    return (item.answer_text in chosen) / len(chosen)
