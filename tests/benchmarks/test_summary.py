"""The arithmetic of the comparison, without timing anything."""

import pytest

from benchmarks.compare import parse_answer
from benchmarks.summary import Repetition, as_json, gain, mean, summarise, table


def repetitions(tokens, seconds, *, first=10.0, second=4.0, peak=100.0):
    """Two warm-ups, then repetitions of `seconds`; two cores are busy all the time."""
    return [
        Repetition(tokens=tokens, seconds=s, cpu_seconds=2 * s, peak_bytes=peak)
        for s in (first, second, *seconds)
    ]


def test_figures_are_medians_of_what_follows_the_warm_ups():
    figures = summarise(repetitions(60.0, [1.0, 3.0, 2.0]))
    assert figures.seconds == 2.0
    assert figures.tokens_per_s == 30.0
    assert figures.tokens_per_cpu_s == 15.0
    assert figures.compile_s == 10.0 + 4.0 - 2 * 2.0
    assert figures.compile_cpu_s == 2 * figures.compile_s


def test_a_turn_stands_for_its_steps():
    steps = [
        Repetition(tokens=4.0, seconds=1.0, cpu_seconds=2.0, peak_bytes=7.0),
        Repetition(tokens=8.0, seconds=3.0, cpu_seconds=4.0, peak_bytes=5.0),
    ]
    assert mean(steps) == Repetition(tokens=6.0, seconds=2.0, cpu_seconds=3.0, peak_bytes=7.0)


def test_tokens_are_compared_with_the_faster_peer():
    figures = {
        "mdx": summarise(repetitions(60.0, [1.0])),
        "tunix": summarise(repetitions(60.0, [3.0])),
        "trl": summarise(repetitions(60.0, [2.0])),
        "torch": summarise(repetitions(60.0, [0.1])),  # no trainer: shown, not compared
    }
    assert gain("tokens", figures) == {"wall": 2.0, "cpu": 2.0}


def test_compile_time_and_memory_are_better_when_smaller():
    figures = {
        "mdx": summarise(repetitions(1.0, [1.0], first=4.0, second=1.0, peak=50.0)),
        "tunix": summarise(repetitions(1.0, [1.0], first=6.0, second=2.0, peak=80.0)),
    }
    assert gain("compile", figures)["wall"] == pytest.approx((6 + 2 - 2) / (4 + 1 - 2))
    assert gain("memory", figures) == {"bytes": 80.0 / 50.0}


def test_there_is_no_ratio_without_a_peer():
    assert gain("tokens", {"mdx": summarise(repetitions(1.0, [1.0]))}) == {}


def test_a_contestant_that_failed_leaves_a_dash_and_its_reason():
    result = as_json("tokens", {"mdx": repetitions(6.0, [2.0])}, {"trl": "no such thing"})
    assert result["errors"] == {"trl": "no such thing"}
    assert result["medians"]["mdx"]["tokens_per_s"] == 3.0
    assert len(result["repetitions"]["mdx"]) == 3
    other = as_json("tokens", {"tunix": repetitions(6.0, [2.0])}, {})
    columns = table({"a": result, "b": other}, {"a": "A", "b": "B"}).columns
    cells = {column.header: list(column.cells) for column in columns}
    assert cells["mdx"] == ["3", "-"]
    assert cells["tunix"] == ["-", "3"]


def test_answers_of_workers_are_read_and_their_errors_raised():
    line = '{"tokens": 8, "seconds": 2.0, "cpu_seconds": 3.0, "peak_bytes": 5}\n'
    assert parse_answer(line) == Repetition(tokens=8, seconds=2.0, cpu_seconds=3.0, peak_bytes=5)
    with pytest.raises(RuntimeError, match="ImportError: no trl"):
        parse_answer('{"error": "ImportError: no trl"}\n')
    with pytest.raises(RuntimeError, match="ended without an answer"):
        parse_answer("")
