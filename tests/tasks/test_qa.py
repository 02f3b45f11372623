"""Questions: answers agree with LAMMPS or with arithmetic done again here."""

import re
from collections import Counter

import pytest

from mdx.errors import UsageError
from mdx.lammps.run import RunRequest, RunStatus
from mdx.tasks.facts import facts
from mdx.tasks.qa import draw_questions
from rollout_farm.client import Farm

QUESTIONS = list(draw_questions(1, 1500))


def test_questions_are_distinct_deterministic_and_of_many_kinds():
    assert len({q.question for q in QUESTIONS}) == len(QUESTIONS)
    assert list(draw_questions(1, 40)) == QUESTIONS[:40]
    assert len(Counter(q.kind for q in QUESTIONS)) >= 12
    assert all(q.answer and q.source and q.licence == "Apache-2.0" for q in QUESTIONS)


def test_conversions_are_right():
    for question in (q for q in QUESTIONS if q.kind == "conversion"):
        unit, value, _ = re.search(
            r"How many (ps|fs) are (\S+) (ps|fs)", question.question
        ).groups()
        expected = float(value) * (1000 if unit == "fs" else 0.001)
        assert float(question.answer.split()[0]) == pytest.approx(expected)


def test_counts_of_atoms_are_right():
    per_cell = {"bcc": 2, "fcc": 4}
    structures = {"copper": "fcc", "Cu": "fcc", "Fe": "bcc", "iron": "bcc", "gold": "fcc"}
    checked = 0
    for question in (q for q in QUESTIONS if q.kind == "atoms"):
        cells = [int(n) for n in re.search(r"(\d)x(\d)x(\d)", question.question).groups()]
        for name, structure in structures.items():
            if re.search(rf"\b{name}\b", question.question):
                expected = per_cell[structure] * cells[0] * cells[1] * cells[2]
                assert int(question.answer) == expected
                checked += 1
    assert checked > 5


def test_default_timesteps_are_those_of_lammps(farm: Farm):
    for style, table in facts().units.items():
        script = (
            f"units {style}\nlattice sc 1\nregion box block 0 4 0 4 0 4\ncreate_box 1 box\n"
            "create_atoms 1 box\nmass 1 1\npair_style zero 1.5\npair_coeff * *\nfix 1 all nve\n"
            "run 1\n"
        )
        result = farm.run(RunRequest(script=script))
        assert result.status is RunStatus.OK, (style, result.error)
        assert result.evidence.runs[0].timestep == pytest.approx(float(table["timestep"])), style


def test_examples_of_commands_run(farm: Farm):
    head = "units metal\nlattice fcc 3.615\nregion box block 0 3 0 3 0 3\ncreate_box 1 box\n"
    head += "create_atoms 1 box\nmass 1 63.55\npair_style eam\npair_coeff * * Cu_u3.eam\n"
    needs = {
        "delete_atoms": "group hole id 17\n",
        "fix langevin": "fix 1 all nve\n",
        "fix ave/time": "compute 1 all msd\n",
    }
    for fact in facts().commands:
        if fact.example in head:
            continue
        script = f"{head}{needs.get(fact.name, '')}{fact.example}\n"
        script += "" if fact.name in ("run", "minimize", "delete_atoms") else "run 0\n"
        result = farm.run(RunRequest(script=script))
        assert result.status is RunStatus.OK, (fact.name, result.error)


def test_more_questions_than_there_are_are_refused():
    with pytest.raises(UsageError, match="ask for fewer"):
        list(draw_questions(1, 10**6))
