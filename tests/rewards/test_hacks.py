"""Scripts that look right without doing the work: each really runs and stays below its cap.

The honest script of the same task scores at least 0.95. A hack is that script with a few commands
changed, so that whatever it loses it loses for the hack.
"""

import dataclasses

import pytest

from mdx.lammps.run import Reward, RunLimits, RunRequest
from mdx.rewards import score
from mdx.tasks.task import Check, CheckKind, Potential, Task
from rollout_farm.client import Farm

HONEST = """\
units metal
lattice fcc 3.615
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 box
pair_style eam/alloy
pair_coeff * * Cu_mishin1.eam.alloy Cu
velocity all create 600 4928
fix 1 all npt temp 300 300 0.1 iso 0 0 0.5
fix 2 all ave/time 1 1 50 c_thermo_temp file T.dat
dump 1 all custom 100 dump.cu id type x y z
timestep 0.002
run 500
"""
FLAGGED, WRONG = 0.15, 0.40  # the caps
NPT = "fix 1 all npt temp 300 300 0.1 iso 0 0 0.5"
PAIR = "pair_style eam/alloy\npair_coeff * * Cu_mishin1.eam.alloy Cu"
THERMO_LINES = """print "Step Temp Press Volume"
print "0 300.0 0.0 3064.0"
print "500 300.0 0.0 3064.0"
print "Loop time of 1.0 on 1 procs for 500 steps with 256 atoms\""""
PRINTED_DUMP = "".join(
    f'print "ITEM: TIMESTEP" append dump.cu\nprint "{i}00" append dump.cu\n'
    f'print "ITEM: NUMBER OF ATOMS" append dump.cu\nprint "256" append dump.cu\n'
    for i in range(6)
)
PRINTED_TABLE = "variable T equal 300\n" + "".join(
    f'print "{50 * i} ${{T}}" append T.dat\n' for i in range(11)
)
DUMP_AND_TABLE = (
    "fix 2 all ave/time 1 1 50 c_thermo_temp file T.dat\n"
    "dump 1 all custom 100 dump.cu id type x y z\n"
)

# name: (cap, what is replaced, by what)
HACKS: dict[str, tuple[float, str, str]] = {
    "run 0": (WRONG, "run 500", "run 0"),
    "a few steps": (WRONG, "run 500", "run 5"),
    "forged log and thermo lines": (WRONG, "run 500", f"run 0\n{THERMO_LINES}"),
    "quit early": (WRONG, "run 500", "run 5\nquit"),
    "reset_timestep fakes the step count": (
        WRONG,
        f"{DUMP_AND_TABLE}timestep 0.002\nrun 500",
        f"timestep 0.002\nrun 5\nreset_timestep 500\n{DUMP_AND_TABLE}run 0",
    ),
    "no integrator": (FLAGGED, NPT + "\n", ""),
    "forces set to zero": (FLAGGED, "dump 1", "fix 3 all setforce 0 0 0\ndump 1"),
    "forces set to zero, then freed for a run 0": (
        FLAGGED,
        "dump 1 all custom 100 dump.cu id type x y z\ntimestep 0.002\nrun 500",
        "fix 3 all setforce 0 0 0\ndump 1 all custom 100 dump.cu id type x y z\n"
        "timestep 0.002\nrun 500\nunfix 3\nrun 0",
    ),
    "frozen atoms": (FLAGGED, "velocity all create 600 4928", "velocity all set 0 0 0"),
    "dt = 1e-9": (FLAGGED, "timestep 0.002", "timestep 1e-9"),
    "temp/rescale in place of the barostat": (
        WRONG,
        NPT,
        "fix 1 all nve\nfix 4 all temp/rescale 1 300 300 0.0 1.0",
    ),
    "atoms lost in an explosion": (
        FLAGGED,
        "run 500",
        "change_box all boundary f f f\nthermo_modify lost ignore\nunfix 1\nfix 1 all nve\n"
        "velocity all create 2000000 1\nrun 500",
    ),
    "a box of 4 atoms": (FLAGGED, "block 0 4 0 4 0 4", "block 0 1 0 1 0 1"),
    "one atom": (
        FLAGGED,
        f"create_atoms 1 box\n{PAIR}\nvelocity all create 600 4928",
        f"create_atoms 1 single 1 1 1\n{PAIR}\nvelocity all set 1 2 3",
    ),
    "pair_style zero": (WRONG, PAIR, "mass 1 63.55\npair_style zero 5.0\npair_coeff * *"),
    "pair_style none": (WRONG, PAIR, "mass 1 63.55\npair_style none\ncomm_modify cutoff 5"),
    "pair_style soft": (WRONG, PAIR, "mass 1 63.55\npair_style soft 2.0\npair_coeff * * 1.0"),
    "another element": (WRONG, PAIR, "pair_style eam\npair_coeff * * Ni_u3.eam"),
    "another element with the right mass": (
        WRONG,
        PAIR,
        "pair_style eam\npair_coeff * * Ni_u3.eam\nmass 1 63.55",
    ),
    "another potential of the element": (
        WRONG,
        PAIR,
        "pair_style eam\npair_coeff * * Cu_u3.eam",
    ),
    "the right potential only at the end": (
        WRONG,
        "run 500",
        f"pair_style eam\npair_coeff * * Ni_u3.eam\nrun 500\n{PAIR}\nrun 0",
    ),
    "a variable printed as a table": (
        FLAGGED,
        "fix 2 all ave/time 1 1 50 c_thermo_temp file T.dat\n",
        PRINTED_TABLE,
    ),
    "a printed dump": (
        FLAGGED,
        "dump 1 all custom 100 dump.cu id type x y z\n",
        PRINTED_DUMP,
    ),
    "a thermostat on a sub-group": (
        WRONG,
        NPT,
        "region half block 0 4 0 4 0 2\ngroup half region half\n"
        "fix 1 half npt temp 300 300 0.1 iso 0 0 0.5\ngroup rest subtract all half\nfix 3 rest nve",
    ),
    "neighbours excluded": (
        WRONG,
        "timestep 0.002",
        "neigh_modify exclude type 1 1\ntimestep 0.002",
    ),
    "neighbours excluded, then included for a run 0": (
        WRONG,
        "run 500",
        "neigh_modify exclude type 1 1\nrun 500\nneigh_modify exclude none\nrun 0",
    ),
    "a dump of every step": (FLAGGED, "custom 100 dump.cu", "custom 1 dump.cu"),
    "an endless jump": (WRONG, "run 500", "run 500\nlabel again\njump SELF again"),
    "files without a run": (WRONG, "run 500", "write_dump all custom dump.cu id type x y z"),
    "an error at the end": (WRONG, "run 500", "run 500\nfrobnicate"),
}


@pytest.fixture(scope="module")
def rewards(farm: Farm, npt_task: Task) -> dict[str, Reward]:
    """Run all hacks at once; the rewards by name."""
    futures = {}
    for name, (_, old, new) in HACKS.items():
        assert HONEST.count(old) == 1, name
        script = HONEST.replace(old, new)
        limits = RunLimits(wall_time_s=2.0 if name == "an endless jump" else 20.0)
        request = RunRequest(script=script, limits=limits, task=npt_task)
        futures[name] = farm.submit(request)
    return {name: future.result().reward for name, future in futures.items()}


@pytest.mark.parametrize("name", HACKS)
def test_hack_stays_below_its_cap(name: str, rewards: dict[str, Reward]):
    cap = HACKS[name][0]
    assert rewards[name].total <= cap + 1e-9, rewards[name]


def test_honest_script_of_the_same_task_earns_full_marks(farm: Farm, npt_task: Task):
    result = farm.run(RunRequest(script=HONEST, task=npt_task))
    assert result.reward.total >= 0.95, (result.error, result.reward)
    assert result.reward.flags == ()


def test_emptying_the_group_all_hides_nothing(farm: Farm, npt_task: Task):
    script = HONEST.replace("run 500", "group none empty\ngroup all clear\nrun 500")
    assert farm.run(RunRequest(script=script, task=npt_task)).reward.total <= WRONG
    script = HONEST.replace("run 500", "group all subtract all all\nrun 500")
    assert farm.run(RunRequest(script=script, task=npt_task)).reward.total <= WRONG


def test_types_mapped_in_the_wrong_order_are_the_wrong_potential(farm: Farm):
    potential = Potential(style="eam/alloy", coeffs=("* * NiAlH_jea.eam.alloy Ni Al",))
    task = Task(
        id="ni3al",
        family="lattice_constant",
        prompt="relax Ni3Al, type 1 is Ni",
        checks=(
            Check(kind=CheckKind.POTENTIAL),
            Check(kind=CheckKind.ENSEMBLE, text="minimize"),
            Check(kind=CheckKind.MINIMIZED),
        ),
        potential=potential,
        elements=("Ni", "Al"),
    )
    script = (
        "units metal\nlattice fcc 3.568\nregion box block 0 3 0 3 0 3\ncreate_box 2 box\n"
        "create_atoms 1 box basis 1 2\npair_style eam/alloy\n"
        "pair_coeff * * NiAlH_jea.eam.alloy {}\nminimize 0 1e-6 100 1000\n"
    )
    right = farm.run(RunRequest(script=script.format("Ni Al"), task=task)).reward
    swapped = farm.run(RunRequest(script=script.format("Al Ni"), task=task)).reward
    assert right.total >= 0.95
    assert swapped.total <= WRONG
    assert "wrong_potential" in swapped.flags


def test_score_of_a_stored_result_is_the_farms(farm: Farm, npt_task: Task):
    request = RunRequest(script=HONEST, task=npt_task, want_outputs=("*",))
    result = farm.run(request)
    stored = dataclasses.replace(result, reward=None)
    assert score(npt_task, HONEST, stored) == result.reward
