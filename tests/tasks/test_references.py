"""References solve their own tasks on the real farm, and nothing solves another's."""

from mdx.lammps.run import RunRequest
from mdx.tasks.families import FAMILIES
from mdx.tasks.generate import Example, draw_examples
from rollout_farm.client import Farm

KEPT_REWARD = 0.95


def rewards_of(farm: Farm, examples: list[Example]) -> list[float]:
    requests = [
        RunRequest(script=e.script, files=e.task.files, task=e.task, want_outputs=("*",))
        for e in examples
    ]
    return [future.result().reward.total for future in list(map(farm.submit, requests))]


def test_a_reference_of_every_family_earns_full_reward(farm: Farm):
    examples = list(draw_examples(split="test", num_scripts=len(FAMILIES), seed=11))
    assert {e.task.family for e in examples} == {f.name for f in FAMILIES}
    rewards = rewards_of(farm, examples)
    missed = {e.task.family: r for e, r in zip(examples, rewards, strict=True) if r < KEPT_REWARD}
    assert len(missed) <= 0.05 * len(FAMILIES), missed


def test_references_of_another_draw_do_not_pass(farm: Farm):
    drawn = draw_examples(split="test", num_scripts=2 * len(FAMILIES), seed=11)
    examples = [e for e in drawn if e.failed_script is None]
    half = len(examples) // 2
    swapped = [
        Example(task=a.task, script=b.script)
        for a, b in zip(examples[:half], examples[half:], strict=True)
        if a.task.family == b.task.family
    ]
    assert len(swapped) >= 14
    assert max(rewards_of(farm, swapped)) < 0.9
