"""Hacks against the evidence and against the worker that reads it, on a real farm.

The hacks of a script that plays by LAMMPS's rules are in tests/rewards/test_hacks.py; here are two
more of them, and those that aim at MDX itself: evidence that a script makes up, and texts that cost
the worker far more than they cost the script.
"""

import time

import pytest

from mdx.lammps import log, probes
from mdx.lammps.run import RunLimits, RunRequest, RunStatus
from mdx.tasks.task import Check, CheckKind, Potential, Task

FLAGGED, WRONG = 0.15, 0.40  # the caps
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
timestep 0.002
"""
TASK = Task(
    id="npt-cu",
    family="npt",
    prompt="NPT Cu, 300 K, 0 bar, 500 steps of 2 fs; dump.cu every 100",
    checks=(
        Check(kind=CheckKind.UNITS, text="metal"),
        Check(kind=CheckKind.POTENTIAL),
        Check(kind=CheckKind.NUM_ATOMS, target=256, tolerance=0.0),
        Check(kind=CheckKind.ENSEMBLE, text="npt"),
        Check(kind=CheckKind.NUM_STEPS, target=500),
        Check(kind=CheckKind.TIMESTEP, target=0.002),
        Check(kind=CheckKind.DUMP, file="dump.cu", target=5),
        Check(kind=CheckKind.TEMPERATURE, target=300),
        Check(kind=CheckKind.FLUCTUATION),
        Check(kind=CheckKind.PRESSURE, target=0),
        Check(kind=CheckKind.VOLUME, target=11.97),
        Check(kind=CheckKind.FINITE),
    ),
    potential=Potential(style="eam/alloy", coeffs=("* * Cu_mishin1.eam.alloy Cu",)),
    elements=("Cu",),
    volume_per_atom=11.97,
    num_steps=500,
)
DUMP = "dump 1 all custom 100 dump.cu id type x y z\n"


def test_honest_script_of_this_task_earns_full_marks(farm):
    result = farm.run(RunRequest(script=f"{HONEST}{DUMP}run 500\n", task=TASK))
    assert result.reward.total >= 0.95, result.reward


def test_lost_atoms_of_an_exploding_timestep_do_not_pay(farm):
    script = HONEST.replace("timestep 0.002", "thermo_modify lost ignore\ntimestep 2.0")
    script = script.replace("fix 1 all npt temp 300 300 0.1 iso 0 0 0.5", "fix 1 all nve")
    script += f"change_box all boundary f f f\n{DUMP}run 500\n"
    assert farm.run(RunRequest(script=script, task=TASK)).reward.total <= FLAGGED


def test_printed_data_file_is_no_geometry(farm):
    task = Task(
        id="t",
        family="geometry",
        prompt="write data.cu",
        checks=(
            Check(kind=CheckKind.NUM_ATOMS, target=2, tolerance=0.0),
            Check(kind=CheckKind.DATA_FILE, file="data.cu", target=2),
        ),
    )
    text = (
        "x\n\n2 atoms\n1 atom types\n0 4 xlo xhi\n0 4 ylo yhi\n0 4 zlo zhi\n\nMasses\n\n1 63.5\n\n"
    )
    text += "Atoms # atomic\n\n1 1 0 0 0\n2 1 2 2 2\n"
    script = "".join(f'print "{line}" append data.cu screen no\n' for line in text.splitlines())
    alone = farm.run(RunRequest(script=script, task=task))
    assert alone.reward.total <= WRONG
    read_back = f"units metal\n{script}read_data data.cu\n"
    assert farm.run(RunRequest(script=read_back, task=task)).reward.total <= FLAGGED


_FAKE_FRAMES = """\
variable k loop 0 5
label g
reset_timestep $(100*v_k)
displace_atoms all random 0.01 0.01 0.01 $(v_k+1)
write_dump all custom dump.cu id type x y z modify append yes
next k
jump SELF g
"""
_FORGERIES = {
    "steps that the clock skips": "run 0\nreset_timestep 500\nrun 0\n",
    "the probed command itself": "mdx_run 0\nreset_timestep 500\nmdx_run 0\n",
    "a run that is hidden": "variable r string run\n${r} 500\n",
    "the clock within a run": 'run 500 every 250 "reset_timestep 499"\n',
    "samplers looked up and taken away": (
        'run 500 every 1 "info fixes out overwrite names" "unfix 1" "reset_timestep 499"\n'
    ),
    "samplers read from the echoed log": (
        "log own.log\necho both\nrun 0\nlog none\nvariable line file own.log\n"
        "reset_timestep 500\nrun 0\n"
    ),
    "its own text": "include in.lammps\n",
    "a plugin of its own": "plugin unload command mdx_run\nrun 500\n",
}


@pytest.mark.parametrize(
    "before", ["", "variable i loop 33\nlabel a\nrun 0\nnext i\njump SELF a\n"]
)
@pytest.mark.parametrize("name", _FORGERIES)
def test_run_that_was_not_done_cannot_be_forged(farm, name, before):
    script = HONEST + before + _FAKE_FRAMES + _FORGERIES[name]
    result = farm.run(RunRequest(script=script, task=TASK))
    assert result.reward.total <= WRONG, result.reward


def test_infinite_box_is_a_result_and_no_broken_farm(farm):
    script = (
        "region box block 0 2 0 2 0 2\ncreate_box 1 box\nmass 1 1\npair_style none\n"
        "change_box all x scale 1e308\nchange_box all x scale 1e308\nrun 0\n"
    )
    for text in (script, script.replace("run 0\n", "")):
        result = farm.run(RunRequest(script=text))
        assert result.status in (RunStatus.OK, RunStatus.ERROR)
        assert not result.evidence.final.finite


def test_script_larger_than_its_folder_is_over_its_limit(farm):
    limits = RunLimits(output_bytes=1 << 20)
    request = RunRequest(script="# a lot\n", files={"x": bytes(3 << 20)}, limits=limits)
    before = farm.fleet.workers[0].status(1.0).num_slots_lost
    assert farm.run(request).status is RunStatus.OUTPUT_LIMIT
    assert farm.fleet.workers[0].status(1.0).num_slots_lost == before


# Reading a script or a log must cost time in proportion to its length: the worker does it, outside
# the script's limits, and all its slots wait meanwhile.
@pytest.mark.parametrize(
    ("read", "text", "size"),
    [
        pytest.param(
            probes.instrument,
            lambda n: "if 1 then " + '"run 1" ' * n,
            5_000,
            id="an if with many runs",
        ),
        pytest.param(
            probes.instrument,
            lambda n: 'print """' + "x\n" * n,
            100_000,
            id="an open triple quote",
        ),
        pytest.param(
            probes.instrument,
            lambda n: "run 1" + " " * n + "pre" + " " * n + "x",
            50_000,
            id="blanks in a run",
        ),
        pytest.param(
            log.clean_error,
            lambda n: "ERROR" + " " * n + "x",
            100_000,
            id="blanks in an error",
        ),
        pytest.param(
            probes.instrument,
            lambda n: "variable x equal 1\n" * n,
            20_000,
            id="many lines",
        ),
        pytest.param(
            probes.instrument,
            lambda n: "x&\n" * n,
            20_000,
            id="many continuations",
        ),
        pytest.param(
            log.parse_thermo,
            lambda n: "Step Temp\n" + "1 2\n" * n,
            50_000,
            id="a long thermo table",
        ),
    ],
)
def test_reading_never_takes_long(read, text, size):
    # in time that grows with the square of the length these took 4 to 20 s of CPU
    started = time.process_time()
    read(text(size))
    assert time.process_time() - started < 3.0
