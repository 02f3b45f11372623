"""What comes back: LAMMPS's own numbers and words, beside the user's own script."""

import subprocess
import sys

import pytest

from mdx.lammps.run import RunStatus
from mdx.rewards import score
from mdx.tasks.task import Check, CheckKind, Potential, Task

CRYSTAL = """units lj
lattice fcc 0.8442
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
velocity all create 1.44 87287
fix 1 all nve
"""
TAG = "mdx"


def test_good_script_gives_the_thermo_output_of_lammps_itself(run):
    script = CRYSTAL + "thermo 10\nrun 50\n"
    result = run(script)
    assert result.status is RunStatus.OK
    assert result.error is None
    program = (
        "import sys\nfrom mdx.lammps.library import Lammps, initialise_mpi\n"
        "initialise_mpi()\nlammps = Lammps()\n"
        "[lammps.command(line) for line in sys.argv[1].splitlines()]\n"
        "print(*(lammps.get_thermo(name) for name in ('temp', 'pe', 'press')))"
    )
    alone = subprocess.run(
        [sys.executable, "-c", program, script], capture_output=True, text=True, check=True
    )
    temperature, energy, pressure = map(float, alone.stdout.split()[-3:])
    [table] = result.thermo
    assert [row[0] for row in table.rows] == [0, 10, 20, 30, 40, 50]
    last = dict(zip(table.columns, table.rows[-1], strict=True))
    assert last["Temp"] == pytest.approx(temperature, rel=1e-7)
    assert last["E_pair"] == pytest.approx(energy, rel=1e-7)
    assert last["Press"] == pytest.approx(pressure, rel=1e-6)
    [probed] = result.evidence.runs
    assert (probed.first_step, probed.last_step, probed.num_atoms_after) == (0, 50, 108)
    assert probed.series["temperature"][-1] == pytest.approx(temperature, rel=1e-7)
    assert result.evidence.final.num_atoms == 108


def test_error_carries_lammps_message_and_the_users_command(run):
    result = run("units lj\nlattice fcd 3.0\nrun 1\n")
    assert result.status is RunStatus.ERROR
    assert "Unknown lattice keyword: fcd" in result.error
    assert result.failed_command == "lattice fcd 3.0"


@pytest.mark.parametrize(
    "script",
    [
        "units lj\nrun 100\n",
        CRYSTAL + "run 10 every\n",
        CRYSTAL.replace("pair_coeff 1 1 1.0 1.0\n", "") + "run 10\n",
        CRYSTAL + "minimize 1e-4 1e-6 nonsense 100\n",
        CRYSTAL + "timestep 100\nrun 100\n",
    ],
)
def test_error_in_a_run_speaks_of_the_users_own_line(run, script):
    result = run(script, want_outputs=("*",))
    assert result.status is RunStatus.ERROR
    assert result.failed_command.split() == script.splitlines()[-1].split()
    assert TAG not in result.error + result.log
    assert not [name for name in result.outputs if TAG in name]


def test_quit_leaves_no_result(run):
    for script in ("quit\n", "quit 0\n", CRYSTAL + "run 10\nquit 1\n"):
        result = run(script)
        assert result.status is RunStatus.CRASHED
        assert "quit" in result.error
        assert result.evidence.runs == ()
        assert result.failed_command.startswith("quit")


def test_crash_of_lammps_is_a_result_with_its_culprit(run):
    result = run(CRYSTAL + "thermo_modify format float %n\nrun 10\n")
    assert result.status is RunStatus.CRASHED
    assert "crashed" in result.error
    assert result.failed_command == "run 10"


def test_only_wanted_outputs_come_back_and_big_ones_are_cut(run):
    script = (
        "print small file a.txt\nprint other file b.dat\n"
        "shell mkdir sub\nprint deep file sub/c.txt\n"
        "variable i loop 1100\nlabel x\nprint '" + "x" * 1023 + "' append big.txt screen no\n"
        "next i\njump SELF x\n"
    )
    result = run(script, want_outputs=("a.*", "sub/*", "big.txt"))
    assert result.outputs["a.txt"].content == b"small\n"
    assert result.outputs["sub/c.txt"].content == b"deep\n"
    assert "b.dat" not in result.outputs
    big = result.outputs["big.txt"]
    assert (big.size_bytes, len(big.content), big.truncated) == (1100 * 1024, 1 << 20, True)


def test_dump_holds_the_scripts_own_frames_only(run):
    script = CRYSTAL + "dump 1 all custom 5 d.txt id x y z\nrun 10\nrun 10\n"
    result = run(script, want_outputs=("*",))
    assert set(result.outputs) == {"d.txt"}
    lines = result.outputs["d.txt"].content.decode().splitlines()
    steps = [lines[i + 1] for i, line in enumerate(lines) if line == "ITEM: TIMESTEP"]
    assert steps == ["0", "5", "10", "15", "20"]
    assert len(lines) == 5 * (9 + 108)


def test_given_files_can_be_read_and_are_no_outputs_unless_written(run):
    files = {"a.lammps": b"print 'from a file'\n", "b.txt": b"old\n"}
    result = run("include a.lammps\nprint new file b.txt\n", files=files, want_outputs=("*",))
    assert "from a file" in result.log
    assert set(result.outputs) == {"b.txt"}
    assert result.outputs["b.txt"].content == b"new\n"


def test_result_is_scored_beside_its_outputs_as_it_would_be_offline(run):
    script = CRYSTAL + "dump 1 all custom 10 d.txt id type x y z\nrun 100\n"
    task = Task(
        id="t",
        family="test",
        prompt="",
        checks=(
            Check(kind=CheckKind.NUM_ATOMS, target=108),
            Check(kind=CheckKind.DUMP, file="d.txt", target=10),
        ),
        potential=Potential(style="lj/cut 2.5", coeffs=("1 1 1.0 1.0",)),
        num_steps=100,
    )
    farm_side = run(script, task=task)
    assert farm_side.outputs == {}  # used for scoring, not asked for
    with_outputs = run(script, task=task, want_outputs=("*",))
    offline = score(task, script, with_outputs)
    assert farm_side.reward == with_outputs.reward == offline
    assert farm_side.reward.total > 0.9
    energy = farm_side.evidence.final.requested_potential_energy
    assert energy == pytest.approx(farm_side.evidence.runs[0].series["potential_energy"][-1])


def test_log_that_the_script_opens_is_as_without_probes(run):
    script = f"log own.log\necho both\n{CRYSTAL}run 5\nclear\nprint end\n"
    log = run(script, want_outputs=("own.log",)).outputs["own.log"].content.decode()
    assert "\nrun 5\n" in log
    assert "mdx" not in log
    assert log.rstrip().endswith("end")
