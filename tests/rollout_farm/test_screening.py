"""What is refused before it runs: only what the sandbox would deny, and in words that help."""

import pytest

from mdx.lammps.run import RunRequest, RunStatus
from mdx.lammps.script import Script
from rollout_farm.screening import refuse


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("shell ls -l", "`shell ls` starts a program"),
        ("dump d all atom 10 out.lammpstrj.gz", "'out.lammpstrj.gz' would be packed"),
        ("write_dump all atom x`touch`.zst", "would be packed"),
        ("read_data cu.data.bz2", "unpacked by another program"),
        ("fix 1 all imd 5678", "opens a network connection"),
        ("fix 1 all ipi localhost 31415", "opens a network connection"),
        ("variable f python f", "runs Python"),
    ],
)
def test_refused_with_the_line_and_the_reason(line, reason):
    text, why = refuse(Script.parse(f"units lj\n# shell in a comment\n{line}\n"))
    assert text == line
    assert why.startswith("refused at line 3: ")
    assert reason in why


@pytest.mark.parametrize(
    "line",
    [
        "shell mkdir results",
        "shell cd results",
        "shell rm old.dat",
        "print 'shell ls'",
        "dump d all atom 10 out.lammpstrj",
        "fix 1 all nve",
        "log gz.lammps",
        "variable f string python",
        "write_data x.gz",  # written as it is
        "jump SELF end\nshell ls\nlabel end",
    ],
)
def test_what_the_sandbox_allows_is_not_refused(line):
    assert refuse(Script.parse(f"units lj\n{line}\n")) is None


def test_refused_script_takes_no_slot_and_says_which_command(farm):
    before = farm.fleet.workers[0].status(1.0).num_runs
    result = farm.run(RunRequest(script="units lj\nshell whoami\n"))
    assert result.status is RunStatus.SCREENED
    assert result.failed_command == "shell whoami"
    assert "line 2" in result.error
    assert "seccomp" in result.sandbox
    assert farm.fleet.workers[0].status(1.0).num_runs == before
