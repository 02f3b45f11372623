"""Questions from facts of the manual, in four forms and two languages, without any language model.

    single_choice     one right answer among wrong ones that are provably wrong
    multiple_choice   a set, compared as a whole
    fill_blank        one name or value
    open_qa           a sentence of the manual, a line of syntax, yes or no with the reason

Everything is decided by the seed. All questions about one fact are in one split.
"""

import hashlib
import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from mdx.corpus.config import QuestionConfig
from mdx.manual.facts import Fact
from mdx.manual.frames import (
    ANSWERS,
    CATEGORY_NAMES,
    DIFFICULTIES,
    EXPLANATIONS,
    FRAMES,
    YES_NO,
)
from mdx.manual.options import MAX_COMPARED, pick, similarity, wrong_values

_GROUPED = ("package", "output", "restart", "minimize")  # multiple choice over subjects
_POINTS = re.compile(r"(This|These|It|They|Those|Self)\b")  # at something outside the sentence
_MAX_GROUPS = 40  # questions of one value
_MAX_KEYWORD_CHOICES = 3  # of one page


@dataclass(frozen=True, kw_only=True)
class ManualQuestion:
    """A record of MD-InstructQA before it has its source and licence. `group` decides the split."""

    id: str
    kind: str
    type: str
    question: str
    options: tuple[str, ...]
    answer: str
    answer_text: str
    explanation: str
    language: str
    difficulty: str
    page: str
    section: str
    quote: str
    page_sha256: str
    group: str


def draw_questions(
    facts: Sequence[Fact],
    config: QuestionConfig,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[ManualQuestion]:
    """Yield all questions that `facts` give, decided by `seed`.

    `progress` is told after each fact how many facts are done.
    """
    done = 0
    by_kind: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_kind[fact.kind].append(fact)
    languages = ("en", "zh") if config.chinese else ("en",)
    for kind, same_kind in by_kind.items():
        num_facts = config.max_facts_per_kind
        if num_facts and len(same_kind) > num_facts:
            same_kind = Random(f"{seed}/{kind}").sample(same_kind, num_facts)
        for index, fact in enumerate(same_kind):
            rng = Random(f"{seed}/{kind}/{fact.subject}/{fact.key}/{fact.value}")
            for form in FRAMES[kind]:
                for language in languages:
                    if language not in FRAMES[kind][form]:
                        continue
                    item = _question(fact, form, language, same_kind, index, config, rng)
                    if item is not None:
                        yield item
            progress(done := done + 1)
        if kind in _GROUPED:
            yield from _grouped(kind, same_kind, languages, config, seed)


def group_of(fact: Fact) -> str:
    """Return what all questions about the same fact share."""
    key = "" if fact.kind in ("keyword", "accelerated") else fact.key
    return f"{fact.kind}/{fact.subject}/{key}"


def question_id(asked: str, options: Sequence[str]) -> str:
    """Return what identifies a question with its options."""
    return f"qa-{hashlib.sha256(chr(0).join([asked, *options]).encode()).hexdigest()[:12]}"


def _question(
    fact: Fact,
    form: str,
    language: str,
    same_kind: Sequence[Fact],
    index: int,
    config: QuestionConfig,
    rng: Random,
) -> ManualQuestion | None:
    if form == "fill_blank":
        return _blank(fact, language, rng)
    if form == "open_qa":
        return _open(fact, language, rng)
    first = index == 0 or same_kind[index - 1].subject != fact.subject
    if form == "multiple_choice":
        if fact.kind not in ("keyword", "accelerated") or not first:
            return None
        return _subset(fact, language, same_kind, config, rng)
    if fact.kind == "keyword" and rng.random() > _MAX_KEYWORD_CHOICES / max(len(fact.truths), 1):
        return None
    return _single(fact, form, language, same_kind, config, rng)


def _asked(fact: Fact, form: str, language: str, rng: Random, key: str = "") -> str:
    english, chinese = CATEGORY_NAMES.get(fact.category, (fact.category, fact.category))
    return rng.choice(FRAMES[fact.kind][form][language]).format(
        s=fact.subject,
        k=key or fact.key,
        v=fact.value,
        c=chinese if language == "zh" else english,
    )


def _blank(fact: Fact, language: str, rng: Random) -> ManualQuestion | None:
    if fact.kind == "argument" and _occurs(fact.key, fact.value):
        return None  # the question would hold its answer
    if fact.kind == "syntax":
        missing = rng.choice(fact.key.split())
        shown = " ".join("____" if word == missing else word for word in fact.value.split())
        asked = _asked(fact, "fill_blank", language, rng, key=shown)
        return _made(fact, "fill_blank", language, asked, (), missing, missing)
    answer = fact.key if fact.kind == "argument" else fact.value
    asked = _asked(fact, "fill_blank", language, rng)
    return _made(fact, "fill_blank", language, asked, (), answer, answer)


def _occurs(word: str, text: str) -> bool:
    return word.lower() in text.lower()


def _open(fact: Fact, language: str, rng: Random) -> ManualQuestion:
    if fact.kind in YES_NO and language == "zh":
        answer = YES_NO[fact.kind][fact.value]
    elif fact.kind in YES_NO:
        answer = f"{fact.value.capitalize()}. {fact.quote}"
    else:
        answer = ANSWERS.get(fact.kind, "{v}").format(k=fact.key, v=fact.value)
    asked = _asked(fact, "open_qa", language, rng)
    return _made(fact, "open_qa", language, asked, (), answer, answer)


def _single(
    fact: Fact,
    form: str,
    language: str,
    same_kind: Sequence[Fact],
    config: QuestionConfig,
    rng: Random,
) -> ManualQuestion | None:
    if form == "reverse_choice":
        right, pool = fact.subject, _other_subjects(fact, same_kind, rng)
        if _occurs(fact.subject.split(" ")[-1], fact.value) or _POINTS.match(fact.value):
            return None
    elif fact.kind == "purpose" and _occurs(fact.subject.split(" ")[-1], fact.value):
        return None  # found by its name alone
    else:
        right, pool = fact.value, wrong_values(fact, same_kind, rng)
    wrong = pick(right, pool, config.num_options - 1, rng)
    if wrong is None:
        return None
    options = [right, *wrong]
    rng.shuffle(options)
    letter = string.ascii_uppercase[options.index(right)]
    asked = _asked(fact, form, language, rng)
    return _made(fact, "single_choice", language, asked, options, letter, right)


def _other_subjects(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    """Return siblings of which something clearly different is said."""
    if sum(similarity(f.value, fact.value) > 0.6 for f in same_kind) > 1:
        return []  # the sentence fits several
    return [
        f.subject
        for f in rng.sample(same_kind, min(len(same_kind), MAX_COMPARED))
        if f.category == fact.category
        and similarity(f.value, fact.value) < 0.4
        and similarity(f.subject, fact.subject) < 0.5
        and (fact.page.name != f.page.name or fact.kind == "error")
    ]


def _subset(
    fact: Fact, language: str, same_kind: Sequence[Fact], config: QuestionConfig, rng: Random
) -> ManualQuestion | None:
    """Ask which of several keywords (or variants) the subject has."""
    if fact.kind == "accelerated":
        every = [f"{fact.key}/{suffix}" for suffix in ("gpu", "intel", "kk", "omp", "opt")]
        return _multiple(fact, language, every, set(fact.truths), rng)
    right = sorted(v for v in fact.truths if f"*{v}*" in fact.page.text)
    num_right = rng.randint(1, min(config.num_options - 1, len(right)))
    pool = wrong_values(fact, same_kind, rng)
    if len(set(pool)) < config.num_options:
        return None
    chosen = rng.sample(right, num_right)
    wrong = rng.sample(sorted(set(pool)), config.num_options - num_right)
    return _multiple(fact, language, [*chosen, *wrong], set(chosen), rng)


def _multiple(
    fact: Fact, language: str, options: Sequence[str], right: set[str], rng: Random
) -> ManualQuestion:
    shuffled = rng.sample(list(options), len(options))
    letters = [string.ascii_uppercase[i] for i, o in enumerate(shuffled) if o in right]
    text = ", ".join(o for o in shuffled if o in right)
    asked = _asked(fact, "multiple_choice", language, rng)
    return _made(fact, "multiple_choice", language, asked, shuffled, ", ".join(letters), text)


def _grouped(
    kind: str,
    same_kind: Sequence[Fact],
    languages: Iterable[str],
    config: QuestionConfig,
    seed: int,
) -> Iterator[ManualQuestion]:
    """Ask which of several siblings have one value; the others are known to have another one."""
    values: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in same_kind:
        values[fact.category, fact.value].append(fact)
    for (category, value), having in values.items():
        if kind in ("restart", "minimize") and value != "yes":
            continue
        others = [f for f in same_kind if f.category == category and f.value != value]
        rng = Random(f"{seed}/{kind}/{category}/{value}")
        for number in range(min(_MAX_GROUPS, len(having))):
            num_right = rng.randint(1, min(config.num_options - 1, len(having)))
            chosen = [having[number], *rng.sample(having, num_right - 1)]
            right = list(dict.fromkeys(f.subject for f in chosen))
            wrong = sorted({f.subject for f in others} - set(right))
            if kind == "package":  # one name may be in several packages
                wrong = [w for w in wrong if value not in _values_of(w, same_kind)]
            if len(wrong) < config.num_options - len(right):
                continue
            options = [*right, *rng.sample(wrong, config.num_options - len(right))]
            for language in languages:
                yield _multiple(having[number], language, options, set(right), rng)


def _values_of(subject: str, same_kind: Sequence[Fact]) -> set[str]:
    return {f.value for f in same_kind if f.subject == subject}


def _made(
    fact: Fact,
    form: str,
    language: str,
    asked: str,
    options: Sequence[str],
    answer: str,
    answer_text: str,
) -> ManualQuestion:
    return ManualQuestion(
        id=question_id(asked, options),
        kind=fact.kind,
        type=form,
        question=asked,
        options=tuple(options),
        answer=answer,
        answer_text=answer_text,
        explanation=EXPLANATIONS[language].format(
            page=fact.page.name, section=fact.section, quote=fact.quote
        ),
        language=language,
        difficulty=DIFFICULTIES[fact.kind],
        page=fact.page.name,
        section=fact.section,
        quote=fact.quote,
        page_sha256=fact.page.sha256,
        group=group_of(fact),
    )
