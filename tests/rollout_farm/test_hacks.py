"""Hacks against the evidence and against the worker that reads it, on a real farm.

The hacks of a script that plays by LAMMPS's rules are in tests/rewards/test_hacks.py; here are two
more of them, and those that aim at MDX itself: a script that finds out the probes' tag and writes
evidence of its own, and texts that cost the worker far more than they cost the script.
"""

import dataclasses
import re
import time

import pytest

from mdx.lammps import log, probes
from mdx.lammps.run import RunRequest, RunStatus
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
TAG = "mdx0123456789ab"  # any tag of the length that the farm gives


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


_FORGED_RUN = """\
variable a string append
variable k loop 0 5
label g
reset_timestep $(100*v_k)
displace_atoms all random 0.01 0.01 0.01 $(v_k+1)
write_dump all custom dump.cu id type x y z modify append yes
next k
jump SELF g
run 0
shell rm ${tag}
print 'begin run 0 256 0.002 14.46 14.46 14.46' ${a} ${tag} screen no
info system fixes out append ${tag}
variable k loop 0 49
label f
variable T equal $(300+13*normal(0,1,v_k+77))
print '$(10*v_k) $(v_T) $(pe) $(0.03*v_T) $(100*normal(0,1,v_k+7)) 3064.3 256 14.5 14.5 14.5' &
  ${a} ${tag} screen no
next k
jump SELF f
print '500 301.0 $(pe:%.15g) 9.9 3.0 3064.3 256 14.5 14.5 14.5 0' ${a} ${tag} screen no
print 'end 500 256' ${a} ${tag} screen no
"""


@pytest.mark.xfail(strict=True, reason="hole: the tag can be read from in.lammps")
def test_script_that_reads_the_tag_from_its_own_text_cannot_forge_a_run(farm):
    script = HONEST + _theft(HONEST) + _FORGED_RUN
    result = farm.run(RunRequest(script=script, task=TASK))
    assert result.reward.total <= WRONG


_NOT_FINITE = pytest.mark.xfail(strict=True, reason="hole: the client refuses null for a float")
_NO_STEP = pytest.mark.xfail(strict=True, reason="hole: IndexError in the worker, five times over")


@pytest.mark.parametrize(
    "line",
    [
        "end",
        "end 1",
        pytest.param("begin run 0 1 1e999 1 1 1", marks=_NOT_FINITE),
        pytest.param("begin run 0 1 nan inf inf inf", marks=_NOT_FINITE),
        "begin run 99999999999999999999999 1 1 1 1 1",
        "begin run 0 99999999999999999999999 1 1 1 1",
        "begin run " + "9" * 5000 + " 1 1 1 1 1",
        pytest.param("begin run 0 1 1 1 1 1\nend ", marks=_NO_STEP),
        "begin run 0 1 1 1 1 1\nend 99999999999999999999999 1",
        "begin run 0 1 1 1 1 1\n² 1 1 1 1 1 1 1 1 1",
        "begin run 0 1 1 1 1 1\n1 1 1 1 1 1 1e308 1 1 1 1e308",
        "begin minimize 0 1 1 1 1 1\nITEM: TIMESTEP\nx\nITEM: ATOMS\ny",
    ],
)
def test_nonsense_in_the_probes_file_breaks_no_worker(farm, line):
    texts = "".join(f"print '{text} ' append ${{tag}} screen no\n" for text in line.split("\n"))
    result = farm.run(RunRequest(script=HONEST + _theft(HONEST) + texts, task=TASK))
    assert result.status is RunStatus.OK
    assert dataclasses.asdict(result)["reward"]["total"] <= WRONG


@pytest.mark.xfail(strict=True, reason="hole: Farm.run raises FarmError for an infinite box")
def test_infinite_box_is_a_result_and_no_broken_farm(farm):
    script = (
        "region box block 0 2 0 2 0 2\ncreate_box 1 box\nmass 1 1\npair_style none\n"
        "change_box all x scale 1e308\nchange_box all x scale 1e308\nrun 0\n"
    )
    assert farm.run(RunRequest(script=script)).status in (RunStatus.OK, RunStatus.ERROR)


def _theft(before: str) -> str:
    """Return commands that put the tag into the variable `tag`, if it stands free in the script.

    A `variable file` gives the lines of in.lammps, probes included, in pieces of 255 characters.
    """
    start = "run 0\nvariable line file in.lammps\n"
    text = probes.instrument(before + start, TAG)
    pieces = [p for line in text.splitlines() for p in re.findall(".{1,255}", line)]
    found = [
        (number, words.index(TAG))
        for number, words in enumerate(map(str.split, pieces))
        if TAG in words and not any(word[0] in "\"'" for word in words)
    ]
    if not found:
        return start + "variable tag string mdx\n"
    number, position = found[0]
    skip = f"variable n loop {number}\nlabel skip\nnext line\nnext n\njump SELF skip\n"
    pick = "next tag\n" * position
    return f"{start}{skip}variable tag index ${{line}}\n{pick}"


# Reading a script or a log must cost time in proportion to its length: the worker does it, outside
# the script's limits, and all its slots wait meanwhile.
@pytest.mark.parametrize(
    ("read", "text", "size"),
    [
        pytest.param(
            lambda text: probes.instrument(text, TAG),
            lambda n: "if 1 then " + '"run 1" ' * n,
            250,
            marks=pytest.mark.xfail(strict=True, reason="hole: 40 KB of script cost 20 s"),
            id="an if with many runs",
        ),
        pytest.param(
            lambda text: probes.instrument(text, TAG),
            lambda n: 'print """' + "x\n" * n,
            6_000,
            marks=pytest.mark.xfail(strict=True, reason="hole: 200 KB of script cost 7 s"),
            id="an open triple quote",
        ),
        pytest.param(
            lambda text: probes.instrument(text, TAG),
            lambda n: "run 1" + " " * n + "pre" + " " * n + "x",
            3_000,
            marks=pytest.mark.xfail(strict=True, reason="hole: 100 KB of script cost 9 s"),
            id="blanks in a run",
        ),
        pytest.param(
            log.clean_error,
            lambda n: "ERROR" + " " * n + "x",
            6_000,
            marks=pytest.mark.xfail(strict=True, reason="hole: 100 KB of log cost 4 s"),
            id="blanks in an error",
        ),
        pytest.param(
            lambda text: probes.instrument(text, TAG),
            lambda n: "variable x equal 1\n" * n,
            4_000,
            id="many lines",
        ),
        pytest.param(
            lambda text: probes.instrument(text, TAG),
            lambda n: "x&\n" * n,
            20_000,
            id="many continuations",
        ),
        pytest.param(
            probes.parse_runs,
            lambda n: "begin run 0 1 1 1 1 1\n" * n,
            10_000,
            id="many forged runs",
        ),
        pytest.param(
            log.parse_thermo,
            lambda n: "Step Temp\n" + "1 2\n" * n,
            50_000,
            id="a long thermo table",
        ),
    ],
)
def test_reading_takes_time_in_proportion_to_length(read, text, size):
    def seconds(length: int) -> float:
        content = text(length)
        times = []
        for _ in range(2):
            started = time.process_time()
            read(content)
            times.append(time.process_time() - started)
        return min(times)

    assert seconds(4 * size) < 8 * seconds(size)
