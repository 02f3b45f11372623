"""Families: what they state, how they ask, and the form of their scripts."""

import re
import string
from random import Random

import pytest

from mdx.tasks.families import FAMILIES, SIMULATION_FAMILIES
from mdx.tasks.family import Family
from mdx.tasks.generate import draw_examples
from mdx.tasks.materials import pool
from mdx.tasks.phrasing import Register
from mdx.tasks.task import CheckKind, Task

# Regions, groups and variables stand where they are used.
ORDER = (
    *("units", "boundary", "dimension", "atom_style", "comm_modify", "bond_style", "angle_style"),
    *("lattice", "read_data", "create_box", "create_atoms", "delete_atoms", "displace_atoms"),
    *("set", "change_box", "mass", "pair_style", "kspace_style", "pair_coeff", "bond_coeff"),
    *("angle_coeff", "special_bonds", "min_style", "velocity", "compute", "fix", "dump"),
    *("timestep", "run", "minimize", "write_data", "write_restart"),
)
FREE = ("region", "group", "variable")
PER_FAMILY = 12

by_name = pytest.mark.parametrize("family", SIMULATION_FAMILIES, ids=lambda f: f.name)


def fields(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def draw_tasks(family: Family, count: int = PER_FAMILY) -> list[Task]:
    examples = draw_examples(split="train", num_scripts=count, seed=3, families=[family.name])
    return [example.task for example in examples]


def numbers(text: str) -> set[float]:
    return {float(n) for n in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", text)}


def test_families_have_distinct_names():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 60


@by_name
def test_family_is_asked_for_in_at_least_twelve_ways_and_five_registers(family: Family):
    templates = {p.template for p in family.phrasings}
    assert len(templates) == len(family.phrasings) >= 12
    assert {p.register for p in family.phrasings} == set(Register)


@by_name
def test_chinese_phrasings_are_chinese_and_others_are_not(family: Family):
    for phrasing in family.phrasings:
        has_chinese = re.search(r"[\u4e00-\u9fff]", phrasing.template) is not None
        assert has_chinese == (phrasing.register is Register.CHINESE), phrasing.template


@by_name
def test_every_phrasing_states_every_value_once(family: Family):
    for i in range(5):
        slots = family.draw(Random(i), pool("all")).slots
        for phrasing in family.phrasings:
            assert sorted(fields(phrasing.template)) == sorted([*slots, "extras"])


@by_name
def test_texts_state_the_numbers_and_files_that_checks_demand(family: Family):
    for task in draw_tasks(family):
        stated = numbers(task.prompt)
        targets = {c.kind: c.target for c in task.checks if c.target is not None}
        dt = targets.get(CheckKind.TIMESTEP, 0.0)
        for kind, factors in {
            CheckKind.TIMESTEP: (1, 1000),  # ps or fs
            CheckKind.TEMPERATURE: (1, 2),  # half of it stays kinetic in NVE and NPH
            CheckKind.RAMP: (1,),
        }.items():
            clamped = kind is CheckKind.TEMPERATURE and family.name == "indentation"
            if kind in targets and not clamped:  # atoms at rest lower the mean
                ways = {float(f"{targets[kind] * factor:.10g}") for factor in factors}
                assert ways & stated, (kind, task.prompt)
        if CheckKind.NUM_STEPS in targets:
            counts = stated | {round(n / dt) for n in stated}  # steps or ps
            stages = counts | {a + b for a in counts for b in counts}
            assert targets[CheckKind.NUM_STEPS] in stages, task.prompt
        for check in task.checks:
            assert check.file is None or check.file in task.prompt
            if check.kind is CheckKind.POTENTIAL and task.elements:
                file = next(w for w in task.potential.coeffs[0].split() if "." in w)
                assert file in task.prompt


@by_name
def test_energy_is_demanded_only_where_the_text_names_the_potential(family: Family):
    for task in draw_tasks(family):
        kinds = {check.kind for check in task.checks}
        assert CheckKind.ENERGY not in kinds or kinds & {CheckKind.POTENTIAL, CheckKind.PAIR_STYLE}


@by_name
def test_checks_are_well_formed(family: Family):
    for task in draw_tasks(family):
        kinds = [c.kind for c in task.checks]
        outputs = (CheckKind.DUMP, CheckKind.TABLE, CheckKind.DATA_FILE, CheckKind.RESTART)
        lengths = (CheckKind.BOX_LENGTH, CheckKind.STRAIN)
        single = [k for k in kinds if k not in (*lengths, CheckKind.METHOD)]
        assert len(set(single)) == len(single)
        assert CheckKind.NUM_ATOMS in kinds
        for check in task.checks:
            assert (check.file is not None) == (check.kind in outputs)
            assert (check.axis in ("x", "y", "z")) == (check.kind in lengths)
        steps = [c.target for c in task.checks if c.kind is CheckKind.NUM_STEPS]
        assert steps == ([task.num_steps] if task.num_steps else [])


@by_name
def test_scripts_are_short_and_follow_one_order(family: Family):
    for i in range(PER_FAMILY):
        commands = family.draw(Random(i), pool("all")).commands
        assert len(commands) <= 26
        assert sum(map(len, commands)) <= 900
        names = [c.split()[0] for c in commands if c.split()[0] not in FREE]
        stop = next(i for i, n in enumerate(names) if n in ("run", "minimize", "write_data"))
        names = names[: stop + 1]  # a second stage repeats commands
        if "create_box" in names:  # a second lattice stands between two fillings
            first, last = names.index("create_box"), names[::-1].index("create_atoms")
            names[first + 1 : len(names) - last] = ["create_atoms"]
        places = [ORDER.index(name) for name in names]
        assert places == sorted(places), commands


def test_prompts_are_short_and_paraphrases_a_minority():
    names = [f.name for f in FAMILIES]
    drawn = draw_examples(split="train", num_scripts=600, seed=1, families=names)
    examples = list(drawn)
    prompts = [example.task.prompt for example in examples]
    assert sum(map(len, prompts)) / len(prompts) < 220
    in_femtoseconds = sum(" fs" in p or " 飞秒" in p for p in prompts)
    in_picoseconds = sum(bool(re.search(r"0\.00\d+ ps", p)) for p in prompts)
    assert 0 < in_femtoseconds < in_picoseconds / 2
    chinese = sum(bool(re.search(r"[\u4e00-\u9fff]", p)) for p in prompts)
    assert 0.15 < chinese / len(prompts) < 0.35
