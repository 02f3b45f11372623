"""References solve their own tasks on the real farm, and nothing solves another's."""

from collections import defaultdict

from mdx.lammps.run import RunRequest
from mdx.tasks.families import FAMILIES
from mdx.tasks.generate import Example, draw_examples
from rollout_farm.client import Farm

KEPT_REWARD = 0.95
PER_FAMILY = 3


def rewards_of(farm: Farm, examples: list[Example]) -> list[float]:
    requests = [RunRequest(script=e.script, task=e.task, want_outputs=("*",)) for e in examples]
    return [future.result().reward.total for future in list(map(farm.submit, requests))]


def test_references_of_every_family_earn_full_reward(farm: Farm):
    count = PER_FAMILY * len(FAMILIES)
    examples = list(draw_examples(split="test", num_scripts=count, seed=11))
    kept: dict[str, int] = defaultdict(int)
    for example, reward in zip(examples, rewards_of(farm, examples), strict=True):
        kept[example.task.family] += reward >= KEPT_REWARD
    assert {f.name: kept[f.name] for f in FAMILIES if kept[f.name] < PER_FAMILY - 1} == {}
    assert sum(kept.values()) >= 0.95 * count


def test_references_of_another_draw_do_not_pass(farm: Farm):
    drawn = draw_examples(split="test", num_scripts=2 * len(FAMILIES), seed=11)
    examples = [e for e in drawn if e.task.family != "repair"]
    half = len(examples) // 2
    swapped = [
        Example(task=a.task, script=b.script)
        for a, b in zip(examples[:half], examples[half:], strict=True)
        if a.task.family == b.task.family
    ]
    assert len(swapped) >= 14
    assert max(rewards_of(farm, swapped)) < 0.9
