"""Options of choices: wrong answers that are provably wrong, and no better guess than chance.

The rank of the right answer by length is drawn first and wrong answers are chosen around it, so
that "always the longest" is no strategy; the letter is drawn as well.
"""

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from random import Random

from mdx.manual.facts import Fact

_NEAREST = 8  # wrong answers are drawn among so many of the nearest length
MAX_COMPARED = 400  # others of the same kind that are tried as wrong answers
_UNITS = ("time", "temperature", "distance", "energy", "force", "velocity", "pressure", "mass")
_MAX_SIMILARITY = {"purpose": 0.45, "error": 0.3, "warning": 0.3, "argument": 0.4}


def similarity(left: str, right: str) -> float:
    """Return the Jaccard similarity of the sets of words."""
    a, b = words_in(left), words_in(right)
    shared = len(a & b)
    return shared / max(len(a) + len(b) - shared, 1)


@functools.lru_cache(maxsize=50_000)
def words_in(text: str) -> frozenset[str]:
    """Return the set of words that `similarity` compares."""
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))


def pick(right: str, pool: Iterable[str], count: int, rng: Random) -> list[str] | None:
    """Return `count` wrong answers out of `pool` around the length of `right`, or None."""
    candidates = sorted({c for c in pool if c.lower() != right.lower()})
    rng.shuffle(candidates)
    longer = sorted((c for c in candidates if len(c) > len(right)), key=len)[:_NEAREST]
    shorter = sorted((c for c in candidates if len(c) < len(right)), key=len)[-_NEAREST:]
    num_longer = rng.randint(0, count)
    chosen = rng.sample(longer, min(num_longer, len(longer)))
    chosen += rng.sample(shorter, min(count - len(chosen), len(shorter)))
    rest = [c for c in candidates if c not in chosen]
    rest.sort(key=lambda c: abs(len(c) - len(right)))
    chosen += rest[: count - len(chosen)]
    return chosen if len(chosen) == count else None


def wrong_values(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    """Return values that are wrong for `fact`, by its kind."""
    special = _POOLS.get(fact.kind)
    values = special(fact, same_kind, rng) if special else [f.value for f in same_kind]
    return [value for value in dict.fromkeys(values) if value not in fact.truths]


def _packages(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    values = sorted({f.value for f in same_kind})
    return [v for v in values if not fact.page.may_name(v)]


def _purposes(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    return [
        f.value
        for f in same_kind
        if _tells_apart(fact, f) and f.subject.split(" ")[-1].lower() not in f.value.lower()
    ]


def _tells_apart(fact: Fact, other: Fact) -> bool:
    """Tell that what is said of `other` cannot pass for what is said of `fact`."""
    return (
        fact.category == other.category
        and fact.page.name != other.page.name
        and similarity(fact.value, other.value) < _MAX_SIMILARITY[fact.kind]
    )


def _defaults(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    number = re.fullmatch(r"(\d+)(\.\d+)?", fact.value)
    if number and float(fact.value):
        digits = len(number[2] or "") - 1
        factors = (0.1, 0.2, 0.5, 2, 3, 5, 10, 100)
        values = [float(fact.value) * factor for factor in factors]
        if digits < 0:
            return [str(round(v)) for v in values if v == round(v)] + ["0"]
        return [f"{v:.{digits}f}" for v in values if round(v, digits) == v]
    line = re.search(rf"\*{re.escape(fact.key)}\*[^\n]*= ([^\n]+)", fact.page.text)
    return re.findall(r"\*([\w/]+)\*", line[1]) if line else []


def _keywords(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    others = dict.fromkeys(f.value for f in same_kind if f.category == fact.category)
    return [value for value in others if not fact.page.may_name(value)]


def _orders(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    """Return the same line with its arguments in other orders."""
    words = fact.value.split()
    names = fact.key.split()
    places = [words.index(name) for name in names]
    heads = [i for i, word in enumerate(words) if word in ("ID", "group-ID")]
    found = []
    for _ in range(40):
        mixed = list(words)
        where = places if rng.random() < 0.7 or not heads else [*heads, *places]
        for i, word in zip(where, rng.sample([words[i] for i in where], len(where)), strict=True):
            mixed[i] = word
        found.append(" ".join(mixed))
    return found


def _meanings(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    """Return meanings of other arguments, those of the same page first."""
    limit = _MAX_SIMILARITY["argument"]
    own = [f.value for f in same_kind if f.page is fact.page and f.key != fact.key]
    own = [value for value in own if similarity(value, fact.value) < 0.7]
    others = [f.value for f in same_kind if f.category == fact.category and f.key != fact.key]
    others = [value for value in others if similarity(value, fact.value) < limit]
    return [*own, *rng.sample(others, min(len(others), 12))]


def _unit_names(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    return [v for v in _UNITS if not re.search(rf"\b{v} units", fact.quote)]


def _outputs(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    shapes = ("scalar", "vector", "array")
    return [f"{reach} {shape}" for reach in ("global", "per-atom", "local") for shape in shapes]


def _unit_values(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    return [f.value for f in same_kind if f.key == fact.key]


def _explanations(fact: Fact, same_kind: Sequence[Fact], rng: Random) -> list[str]:
    """Return explanations of messages that share a word, but not the matter, with this one."""
    limit = _MAX_SIMILARITY["error"]
    others = rng.sample(same_kind, min(len(same_kind), MAX_COMPARED))
    alike = [
        f.value
        for f in others
        if 0.05 < similarity(f.subject, fact.subject) < 0.2
        and similarity(f.value, fact.value) < limit
        and similarity(f.value, fact.subject) < 0.25
    ]
    return alike[:40]


_POOLS: dict[str, Callable[[Fact, Sequence[Fact], Random], list[str]]] = {
    "package": _packages,
    "purpose": _purposes,
    "default": _defaults,
    "keyword": _keywords,
    "syntax": _orders,
    "argument": _meanings,
    "argument_units": _unit_names,
    "output": _outputs,
    "units": _unit_values,
    "error": _explanations,
    "warning": _explanations,
}
