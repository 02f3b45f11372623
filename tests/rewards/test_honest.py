"""Honest scripts of many kinds earn at least 0.95 in real runs, however they are written."""

import dataclasses
import itertools

import pytest

from mdx.lammps.run import RunRequest
from mdx.rewards import passed, score
from mdx.tasks.task import Check, CheckKind, Potential, Task
from rollout_farm.client import Farm

CRYSTAL = (
    "units metal\nlattice fcc 3.615\nregion box block 0 4 0 4 0 4\ncreate_box 1 box\n"
    "create_atoms 1 box\npair_style eam/alloy\npair_coeff * * Cu_mishin1.eam.alloy Cu\n"
)
CU = Potential(style="eam/alloy", coeffs=("* * Cu_mishin1.eam.alloy Cu",))
HOT = "velocity all create 600 4928\n"
COMMON = (
    Check(kind=CheckKind.UNITS, text="metal"),
    Check(kind=CheckKind.POTENTIAL),
    Check(kind=CheckKind.NUM_ATOMS, target=256, tolerance=0.0),
    Check(kind=CheckKind.FINITE),
)
CANONICAL = (
    *COMMON,
    Check(kind=CheckKind.NUM_STEPS, target=500),
    Check(kind=CheckKind.TIMESTEP, target=0.002),
    Check(kind=CheckKind.TEMPERATURE, target=300),
    Check(kind=CheckKind.FLUCTUATION),
)
LOOP = "variable i loop 5\nlabel again\nrun 100\nnext i\njump SELF again\n"  # 5 runs of 100 steps


def task(*checks: Check, num_steps: int = 500, **fields: object) -> Task:
    base = Task(id="t", family="f", prompt="p", checks=checks, num_steps=num_steps)
    copper = {"potential": CU, "elements": ("Cu",), "volume_per_atom": 11.81}
    return dataclasses.replace(base, **{**copper, **fields})


def ensemble(text: str) -> Check:
    return Check(kind=CheckKind.ENSEMBLE, text=text)


NVT = task(*CANONICAL, ensemble("nvt"))
HONEST: dict[str, tuple[Task, str]] = {
    "nvt": (NVT, f"{CRYSTAL}{HOT}fix 1 all nvt temp 300 300 0.1\ntimestep 0.002\nrun 500\n"),
    "nvt in words of its own": (
        NVT,
        f"# copper\n{CRYSTAL}mass 1 63.546 # u\nvariable T equal 300\n"
        "velocity all create $(2*v_T) 1 mom yes &\n  rot yes\n"
        "group crystal type 1\nfix nvt crystal nvt temp ${T} ${T} $(50*dt)\n"
        "thermo 100\nthermo_style custom step temp pe press\nthermo_modify norm yes\n"
        'timestep 0.002\nif "${T} > 0" then "run 500" else "run 1"\n',
    ),
    "nvt in a loop": (
        NVT,
        f"{CRYSTAL}{HOT}fix 1 all nvt temp 300 300 0.1\ntimestep 0.002\n{LOOP}",
    ),
    "nvt after a minimisation": (
        NVT,
        f"{CRYSTAL}minimize 0 1e-4 100 1000\nreset_timestep 0\n{HOT}"
        "fix 1 all nvt temp 300 300 0.1\ntimestep 0.002\nrun 500\nunfix 1\n",
    ),
    "langevin": (
        task(*CANONICAL, ensemble("langevin")),
        f"{CRYSTAL}{HOT}fix 1 all nve\nfix 2 all langevin 300 300 0.1 4928\n"
        "timestep 0.002\nrun 500\n",
    ),
    "nve": (
        task(*COMMON, ensemble("nve"), Check(kind=CheckKind.ENERGY_DRIFT)),
        f"{CRYSTAL}{HOT}fix 1 all nve\ntimestep 0.002\nrun 500\n",
    ),
    "npt": (
        task(
            *CANONICAL,
            ensemble("npt"),
            Check(kind=CheckKind.PRESSURE, target=0.0),
            Check(kind=CheckKind.VOLUME, target=11.97),
            volume_per_atom=11.97,
        ),
        f"{CRYSTAL}{HOT}fix 1 all npt temp 300 300 0.1 iso 0 0 0.5\ntimestep 0.002\nrun 500\n",
    ),
    "heating": (
        task(*COMMON, ensemble("nvt"), Check(kind=CheckKind.RAMP, start=100, target=600)),
        f"{CRYSTAL}velocity all create 200 1\nfix 1 all nvt temp 100 600 0.05\n"
        "timestep 0.002\nrun 500\n",
    ),
    "stretching": (
        task(
            *COMMON,
            ensemble("nvt"),
            Check(kind=CheckKind.STRAIN, target=0.03, axis="x"),
            volume_per_atom=None,
        ),
        f"{CRYSTAL}{HOT}fix 1 all nvt temp 300 300 0.1\nfix 2 all deform 1 x scale 1.03\n"
        "timestep 0.002\nrun 500\n",
    ),
    "minimize": (
        task(
            *COMMON,
            ensemble("minimize"),
            Check(kind=CheckKind.MINIMIZED),
            Check(kind=CheckKind.ENERGY, target=-3.54, tolerance=0.001),
            Check(kind=CheckKind.BOX_LENGTH, target=14.46, axis="y"),
            num_steps=0,
        ),
        f"{CRYSTAL}displace_atoms all random 0.1 0.1 0.1 3\nminimize 0 1e-6 200 2000\n",
    ),
    "geometry": (
        task(
            Check(kind=CheckKind.NUM_ATOMS, target=256, tolerance=0.0),
            Check(kind=CheckKind.DATA_FILE, file="data.cu", target=256),
            num_steps=0,
            potential=None,
        ),
        "units metal\nlattice fcc 3.615\nregion box block 0 4 0 4 0 4\ncreate_box 1 box\n"
        "create_atoms 1 box\nmass 1 63.546\nwrite_data data.cu\n",
    ),
    "lennard-jones": (
        task(
            Check(kind=CheckKind.UNITS, text="lj"),
            Check(kind=CheckKind.POTENTIAL),
            Check(kind=CheckKind.ENERGY_DRIFT),
            ensemble("nve"),
            num_steps=300,
            potential=Potential(style="lj/cut 2.5", coeffs=("1 1 1.0 1.0 2.5",)),
            elements=(),
            volume_per_atom=None,
        ),
        "units lj\nlattice fcc 0.8442\nregion box block 0 4 0 4 0 4\ncreate_box 1 box\n"
        "create_atoms 1 box\nmass 1 1.0\nvelocity all create 1.44 87287\npair_style lj/cut 2.5\n"
        "pair_coeff 1 1 1.0 1.0 2.5\nfix 1 all nve\nrun 300\n",
    ),
}


@pytest.fixture(scope="module")
def results(farm: Farm):
    futures = {
        name: farm.submit(RunRequest(script=script, task=task, want_outputs=("*",)))
        for name, (task, script) in HONEST.items()
    }
    return {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize("name", HONEST)
def test_honest_script_earns_full_marks(name: str, results):
    result = results[name]
    assert result.reward.total >= 0.95, (result.error, result.reward)
    assert passed(result.reward)


def test_steps_in_loops_and_if_count_as_often_as_they_run(results):
    for name in ("nvt", "nvt in a loop", "nvt in words of its own"):
        runs = [run for run in results[name].evidence.runs if run.command == "run"]
        assert sum(run.last_step - run.first_step for run in runs) == 500, name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("temp 300 300", "temp 600 600"),
        ("timestep 0.002", "timestep 0.001"),
        ("block 0 4 0 4 0 4", "block 0 4 0 4 0 5"),
        ("run 500", "run 400"),
        ("run 500", "run 1000"),
        ("fix 1 all nvt temp 300 300 0.1", "fix 1 all nve"),
        ("lattice fcc 3.615", "lattice fcc 3.75"),
    ],
)
def test_one_wrong_number_keeps_a_script_from_passing(farm: Farm, old: str, new: str):
    task, script = HONEST["nvt"]
    reward = farm.run(RunRequest(script=script.replace(old, new), task=task)).reward
    assert not passed(reward), reward


def test_rewards_climb_with_how_far_a_script_gets(farm: Farm):
    task, script = HONEST["nvt"]
    lines = script.splitlines(keepends=True)
    stages = [
        "foo\n",
        "".join(lines[:3]) + "foo\n",  # no box
        "".join(lines[:4]) + "foo\n",  # a box
        "".join(lines[:7]) + "foo\n",  # atoms and a potential
        script.replace("run 500", "run 200\nfoo"),
        script.replace("run 500", "run 500\nfoo"),
        script.replace("temp 300 300", "temp 450 450"),
        script,
    ]
    totals = [farm.run(RunRequest(script=stage, task=task)).reward.total for stage in stages]
    assert all(b > a + 0.004 for a, b in itertools.pairwise(totals)), totals


def test_a_free_potential_may_differ_but_not_be_another_elements(farm: Farm):
    task, script = HONEST["nvt"]
    free = dataclasses.replace(
        task, checks=tuple(c for c in task.checks if c.kind is not CheckKind.POTENTIAL)
    )
    other = script.replace("eam/alloy", "eam").replace("Cu_mishin1.eam.alloy Cu", "Cu_u3.eam")
    nickel = other.replace("Cu_u3.eam", "Ni_u3.eam\nmass 1 63.55")
    assert passed(farm.run(RunRequest(script=other, task=free)).reward)
    reward = farm.run(RunRequest(script=nickel, task=free)).reward
    assert reward.total <= 0.40
    assert "wrong_potential" in reward.flags


def test_scoring_is_pure(results):
    task, script = HONEST["npt"]
    result = dataclasses.replace(results["npt"], reward=None)
    assert score(task, script, result) == score(task, script, result) == results["npt"].reward
