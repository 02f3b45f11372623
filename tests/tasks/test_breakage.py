"""Breakages: every kind makes LAMMPS stop with an error, and the facts quote real errors."""

import re
from random import Random

import pytest

from mdx.lammps.run import RunRequest, RunResult, RunStatus
from mdx.tasks.breakage import BREAKERS, Broken, break_script
from mdx.tasks.facts import facts
from mdx.tasks.generate import draw_examples
from rollout_farm.client import Farm


@pytest.fixture(scope="module")
def broken_runs(farm: Farm) -> list[tuple[Broken, RunResult]]:
    rng = Random(3)
    broken = []
    for example in draw_examples(split="train", num_scripts=42, seed=9, material_set="basic"):
        for kind in BREAKERS:
            try:
                broken.append(break_script(example.script, rng, kind))
            except ValueError:
                continue
    futures = [farm.submit(RunRequest(script=b.script)) for b in broken]
    return [(b, future.result()) for b, future in zip(broken, futures, strict=True)]


def test_there_are_at_least_eight_kinds_and_each_was_made(broken_runs):
    assert len(BREAKERS) >= 8
    assert {broken.kind for broken, _ in broken_runs} == set(BREAKERS)


def test_every_mistake_is_an_error_in_lammps(broken_runs):
    wrong = [(b.kind, b.script) for b, r in broken_runs if r.status is not RunStatus.ERROR]
    assert wrong == []


def test_broken_script_differs_in_few_lines(broken_runs):
    script = "units metal\nlattice fcc 3.615\nregion box block 0 3 0 3 0 3\ncreate_box 1 box\n"
    script += "create_atoms 1 box\npair_style eam\npair_coeff * * Cu_u3.eam\nrun 0\n"
    for seed in range(200):
        broken = break_script(script, Random(seed)).script
        assert broken != script
        assert len(set(script.splitlines()) ^ set(broken.splitlines())) <= 2


def test_kind_that_cannot_apply_is_refused():
    with pytest.raises(ValueError, match="missing_mass"):
        break_script("units metal\nrun 0\n", Random(0), "missing_mass")


def test_errors_of_the_facts_are_what_lammps_says(broken_runs):
    said = [result.error or "" for _, result in broken_runs]
    for fact in facts().errors:
        words = re.sub(r"'.*|fccc|metl|pair_styel.*|Cu_u4.*|Type 1.*", "", fact.error)
        assert any(words.removeprefix("ERROR: ").strip() in text for text in said), fact.error
