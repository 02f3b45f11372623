"""Time, memory and disk: each limit ends a run with the status of its name, and soon."""

import pytest

from mdx.lammps.run import RunStatus

ENDLESS = "label again\nvariable x equal 1\njump SELF again\n"
FLOOD = "label again\nprint '{text}' {where}\njump SELF again\n"


def test_endless_script_is_stopped_at_its_wall_time(run):
    result = run(ENDLESS, wall_time_s=0.5)
    assert result.status is RunStatus.TIMEOUT
    assert 0.5 <= result.timings.wall_s < 1.5
    assert result.failed_command is not None
    assert "0.5 s wall time" in result.error


def test_cpu_time_is_limited_apart_from_wall_time(run):
    result = run(ENDLESS, cpu_time_s=0.4, wall_time_s=9.0)
    assert result.status is RunStatus.TIMEOUT
    assert result.timings.cpu_s < 2.5


def test_memory_hog_is_stopped(run):
    hog = (
        "units lj\nlattice fcc 0.8442\nregion b block 0 2 0 2 0 2\ncreate_box 1 b\n"
        "create_atoms 1 box\nreplicate 100 100 100\n"
    )
    result = run(hog, memory_bytes=128 << 20)
    assert result.status is RunStatus.OUT_OF_MEMORY
    assert "128 MiB" in result.error
    assert result.failed_command == "replicate 100 100 100"


@pytest.mark.parametrize("where", ["append flood.txt screen no", ""])
def test_output_flood_is_stopped(run, where):
    script = FLOOD.format(text="x" * 2000, where=where)
    result = run(script, output_bytes=1 << 20, want_outputs=("*",))
    assert result.status is RunStatus.OUTPUT_LIMIT
    assert sum(output.size_bytes for output in result.outputs.values()) <= 1 << 20


def test_flood_of_files_is_stopped(run):
    script = "variable i loop 5000\nlabel a\nprint x file f$i screen no\nnext i\njump SELF a\n"
    assert run(script).status is RunStatus.OUTPUT_LIMIT


def test_log_comes_back_bounded_with_its_end(run):
    script = (
        "variable i loop 2000\nlabel a\nprint 'line $i'\nnext i\njump SELF a\nprint 'the end'\n"
    )
    result = run(script, log_bytes=1000)
    assert result.status is RunStatus.OK
    assert len(result.log) <= 1000
    assert result.log.endswith("the end\n")


def test_command_that_fails_for_want_of_time_is_no_error_of_the_script(run):
    script = (
        "units lj\nlattice fcc 0.8442\nregion b block 0 4 0 4 0 4\ncreate_box 1 b\n"
        "create_atoms 1 box\nmass 1 1.0\npair_style lj/cut 2.5\npair_coeff 1 1 1 1\nfix 1 all nve\n"
        'variable e equal pe\nthermo 1000000\nrun 100000000\nprint "${e}"\n'
    )
    assert run(script, wall_time_s=3.0).status is RunStatus.TIMEOUT


def test_endless_run_is_ended_softly_with_its_log_and_evidence(run):
    script = (
        "units lj\nlattice fcc 0.8442\nregion b block 0 4 0 4 0 4\ncreate_box 1 b\n"
        "create_atoms 1 box\nmass 1 1.0\nvelocity all create 1.0 1\npair_style lj/cut 2.5\n"
        "pair_coeff 1 1 1 1\nfix 1 all nve\nthermo 100\nrun 100000000\nprint after\n"
    )
    result = run(script, wall_time_s=3.0)
    assert result.status is RunStatus.TIMEOUT
    assert result.timings.wall_s < 3.0
    assert result.failed_command == "run 100000000"
    [probed] = result.evidence.runs
    assert probed.finished
    assert probed.last_step == result.evidence.final.step > 1000
    assert len(result.thermo[0].rows) > 10
    assert "New timer settings" not in result.log
    assert "\nafter" in result.log
