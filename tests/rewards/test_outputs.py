"""Marks for dumps, tables and data files, from small files written by hand."""

import pytest

from mdx.lammps.run import Evidence, FinalState, Output, ProbedRun, RunResult, RunStatus
from mdx.lammps.script import Script
from mdx.rewards.facts import Facts, gather
from mdx.rewards.integrity import integrity_flags
from mdx.rewards.outputs import OUTPUTS
from mdx.tasks.task import Check, CheckKind, Task

DATA = "comment\n\n2 atoms\n1 atom types\n\n0 1 xlo xhi\n\nMasses\n\n1 1.0\n\n"
DATA += "Atoms # atomic\n\n1 1 0 0 0\n2 1 1 1 1\n\nVelocities\n\n1 0 0 0\n2 0 0 0\n"


def frame(step: int, x: float, atoms: int = 2) -> str:
    rows = "".join(f"{i} 1 {x} 0 0\n" for i in range(1, atoms + 1))
    return (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{atoms}\nITEM: BOX BOUNDS pp pp pp\n"
        f"0 1\n0 1\n0 1\nITEM: ATOMS id type x y z\n{rows}"
    )


def mark(
    kind: CheckKind, text: str | None, *, scale: int = 1, target: float | None = None
) -> float:
    check = Check(kind=kind, file="out", target=target)
    return OUTPUTS[kind](facts(check, text, scale), check)


def facts(check: Check, text: str | None, scale: int = 1, script: str = "run 100\n") -> Facts:
    outputs = {}
    if text is not None:
        content = text.encode()
        outputs["out"] = Output(size_bytes=scale * len(content), content=content)
    run = ProbedRun(
        command="run",
        first_step=0,
        last_step=100,
        num_atoms_before=2,
        num_atoms_after=2,
        timestep=0.001,
    )
    final = FinalState(
        units="metal",
        step=100,
        num_atoms=2,
        num_types=1,
        pair_style="eam",
        fixes=(),
        box_lengths=(1.0, 1.0, 1.0),
    )
    evidence = Evidence(runs=(run,), final=final)
    result = RunResult(status=RunStatus.OK, outputs=outputs, evidence=evidence)
    task = Task(id="t", family="f", prompt="p", checks=(check,))
    return gather(task, Script.parse(script), result)


def test_dump_needs_frames_atoms_and_motion():
    moving = frame(0, 0.0) + frame(50, 0.1) + frame(100, 0.2)
    assert mark(CheckKind.DUMP, moving, target=3) == 1.0
    assert mark(CheckKind.DUMP, moving, target=6) == pytest.approx(0.5)
    assert mark(CheckKind.DUMP, frame(0, 0.0) + frame(100, 0.0), target=2) == 0.0
    assert mark(CheckKind.DUMP, frame(0, 0.0, 3) + frame(100, 0.1, 3), target=2) == 0.0
    assert mark(CheckKind.DUMP, "nonsense", target=2) == 0.0
    assert mark(CheckKind.DUMP, None, target=2) == 0.0


def test_a_dump_cut_in_half_counts_by_its_size():
    text = "".join(frame(10 * i, 0.1 * i) for i in range(5))
    assert mark(CheckKind.DUMP, text, scale=2, target=10) == pytest.approx(1.0)


def test_xyz_dump_is_read():
    text = "2\ncomment\nCu 0 0 0\nCu 1 1 1\n2\ncomment\nCu 0 0 0.1\nCu 1 1 1\n"
    assert mark(CheckKind.DUMP, text, target=2) == 1.0


def test_table_needs_rows_up_to_the_last_step():
    rows = "# TimeStep c_T\n" + "".join(f"{i} 300.0\n" for i in range(0, 101, 10))
    assert mark(CheckKind.TABLE, rows, target=11) == 1.0
    assert mark(CheckKind.TABLE, rows, target=22) == pytest.approx(0.5)
    early = "".join(f"{i} 300.0\n" for i in range(0, 51, 5))
    assert mark(CheckKind.TABLE, early, target=11) == pytest.approx(0.5)
    assert mark(CheckKind.TABLE, "0 nan\n100 nan\n", target=1) == 0.0
    assert mark(CheckKind.TABLE, "", target=1) == 0.0


def test_data_file_needs_as_many_atoms_as_its_header_says():
    assert mark(CheckKind.DATA_FILE, DATA, target=2) == 1.0
    assert mark(CheckKind.DATA_FILE, DATA) == 1.0
    assert mark(CheckKind.DATA_FILE, DATA, target=3) == 0.0
    assert mark(CheckKind.DATA_FILE, DATA.replace("2 1 1 1 1\n", ""), target=2) == 0.0
    assert mark(CheckKind.DATA_FILE, "2 atoms\n", target=2) == 0.0


@pytest.mark.parametrize(
    ("script", "forged"),
    [
        ('print "1 300" file out\nrun 100\n', True),
        ('run 100\nprint "1 300" append out\n', True),
        ('run 100\nprint "$(step) $(temp)" append out\n', False),
        ('variable f string out\nprint "1 300" file ${f}\nrun 100\n', True),
        ('if "1 > 0" then "print \'1 300\' append out"\nrun 100\n', True),
        ('fix 1 all print 10 "$(step) $(temp)" file out\nrun 100\n', False),
        ('print "done" file other\nrun 100\n', False),
    ],
)
def test_tables_printed_without_measuring_are_forged(script: str, forged: bool):
    check = Check(kind=CheckKind.TABLE, file="out", target=1)
    assert ("forged_output" in integrity_flags(facts(check, "1 300\n", script=script))) == forged


def test_a_printed_dump_or_data_file_is_always_forged():
    for kind in (CheckKind.DUMP, CheckKind.DATA_FILE):
        found = facts(
            Check(kind=kind, file="out"), DATA, script='run 1\nprint "$(step)" file out\n'
        )
        assert "forged_output" in integrity_flags(found)


def test_many_more_frames_than_asked_for_are_a_flood():
    check = Check(kind=CheckKind.DUMP, file="out", target=5)
    text = "".join(frame(i, 0.1 * i) for i in range(20))
    assert "output_flood" not in integrity_flags(facts(check, text, scale=5))
    assert "output_flood" in integrity_flags(facts(check, text, scale=6))
