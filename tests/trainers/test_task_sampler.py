"""Which tasks are drawn: by how much their running pass rate lets them teach."""

import json
from collections import Counter

import numpy as np
import pytest

from mdx.tasks.task import Task
from trainers.task_sampler import PassRates


def task(name, family="nvt"):
    return Task(id=name, family=family, prompt=f"Simulate {name}.")


def test_rate_starts_at_a_half_and_moves_to_what_is_seen():
    rates = PassRates()
    assert rates.rate(task("a")) == 0.5
    for _ in range(20):
        rates.record(task("a"), [True, False, False, False])
    assert rates.rate(task("a")) == pytest.approx(0.25, abs=0.01)


def test_an_untried_task_has_the_rate_of_its_family():
    rates = PassRates()
    for number in range(20):
        rates.record(task(f"solved-{number}", "minimize"), [True] * 8)
    assert rates.rate(task("new", "minimize")) > 0.9
    assert rates.rate(task("new", "npt")) == 0.5


def test_old_groups_fade():
    rates = PassRates()
    for _ in range(10):
        rates.record(task("a"), [False] * 8)
    for _ in range(10):
        rates.record(task("a"), [True] * 8)
    assert rates.rate(task("a")) > 0.9


def test_weight_is_greatest_at_a_half_and_a_retired_task_keeps_the_floor():
    rates = PassRates(floor=0.05)
    for _ in range(40):
        rates.record(task("always", "x"), [True] * 8)
        rates.record(task("never", "y"), [False] * 8)
        rates.record(task("half", "z"), [True, False] * 4)
    assert rates.weight(task("half", "z")) == pytest.approx(0.55)
    assert rates.weight(task("always", "x")) == 0.05
    assert 0.05 < rates.weight(task("never", "y")) < 0.25


def test_draw_is_without_repetition_and_follows_the_weights():
    rates = PassRates()
    tasks = [task("half", "z"), task("always", "x")]
    for _ in range(40):
        rates.record(tasks[0], [True, False] * 4)
        rates.record(tasks[1], [True] * 8)
    rng = np.random.default_rng(0)
    drawn = Counter(rates.draw(tasks, 1, rng)[0].id for _ in range(2000))
    share = 0.05 / (0.05 + 0.55)
    assert drawn["always"] / 2000 == pytest.approx(share, abs=4 * np.sqrt(share / 2000))
    assert sorted(t.id for t in rates.draw(tasks, 5, rng)) == ["always", "half"]


def test_rates_read_back_from_json_are_the_same():
    rates = PassRates()
    rates.record(task("a"), [True, False, True])
    rates.record(task("b"), [False, False, True])
    assert PassRates.from_json(json.loads(json.dumps(rates.to_json()))) == rates
