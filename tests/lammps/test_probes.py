"""Probes see what runs did, change nothing, and leave no trace in what people read."""

import re

import pytest

from mdx.lammps.log import find_error
from mdx.lammps.probes import (
    instrument,
    instrument_files,
    parse_runs,
    strip_probes,
    user_error,
)
from mdx.lammps.run import ActiveFix

TAG = "mdxtest0a1b2c3d4e"  # as in conftest
CRYSTAL = """\
units metal
lattice fcc 3.615
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
pair_style eam/alloy
pair_coeff * * Cu_mishin1.eam.alloy Cu
"""
MIXED = f"""{CRYSTAL}displace_atoms all random 0.1 0.1 0.1 3
thermo 1
thermo_modify format float %.17g
minimize 1e-6 1e-6 20 100
velocity all create 300 1
fix 1 all npt temp 300 300 0.1 iso 0 0 1
variable n equal 30
run $(v_n)
variable i loop 3
label again
if "$i == 2" then "run 7" "print 'seven'" else "run 11 upto" &
  "run 3"
next i
jump SELF again
unfix 1
reset_timestep 0
fix 2 all nve
run 250 every 50 "print 'fifty'"
"""


def thermo_rows(log: str) -> list[str]:
    return re.findall(r"^ +\d+ +[-\d].*", log, re.MULTILINE)


def test_probed_trajectory_is_bit_equal_and_its_log_the_same(run_script):
    # no "run 11 upto" in the past: steps go on
    text = MIXED.replace("run 11 upto", "run 11")
    plain, probed = run_script(text), run_script(instrument(text, TAG))
    assert plain.error is None
    assert probed.error is None
    assert len(thermo_rows(plain.log)) > 300
    assert thermo_rows(strip_probes(probed.log, TAG)) == thermo_rows(plain.log)
    assert "fifty" in probed.log
    assert plain.runs == ()


def test_probes_record_every_run(run_script):
    outcome = run_script(instrument(MIXED.replace("run 11 upto", "run 11"), TAG))
    runs = outcome.runs
    assert [run.command for run in runs] == ["minimize"] + ["run"] * 7
    steps = [run.last_step - run.first_step for run in runs if run.command == "run"]
    assert steps == [30, 11, 3, 7, 11, 3, 250]
    assert all(run.num_atoms_before == run.num_atoms_after == 108 for run in runs)
    assert all(run.finished and run.pair_style == "eam/alloy" for run in runs)
    assert runs[0].fixes == ()
    assert runs[1].fixes == (ActiveFix(style="npt", group="all"),)
    assert runs[-1].fixes == (ActiveFix(style="nve", group="all"),)
    assert runs[0].series["potential_energy"][0] > runs[0].series["potential_energy"][1]
    assert runs[1].first_box_lengths == pytest.approx((10.845,) * 3)


def test_samples_agree_with_thermo_and_hold_the_last_step(run_script):
    text = (
        f"{CRYSTAL}velocity all create 600 1\nfix 1 all nve\nthermo 1\n"
        "thermo_style custom step temp pe ke press vol atoms lx ly lz\n"
        "thermo_modify format float %.12g norm no\nrun 7\nrun 207\n"
    )
    outcome = run_script(instrument(text, TAG))
    run = outcome.runs[-1]
    assert run.first_step == 7
    assert run.series["step"][-1] == 214
    assert len(run.series["step"]) == 20 + 1 + 1  # one step in ten, the first and the last
    rows = {}
    for line in thermo_rows(outcome.log):
        values = [float(word) for word in line.split()]
        rows[values[0]] = values
    names = ("temperature", "potential_energy", "kinetic_energy", "pressure", "volume")
    names += ("num_atoms", "lx", "ly", "lz")
    for i, step in enumerate(run.series["step"]):
        sampled = [run.series[name][i] for name in names]
        assert sampled == pytest.approx(rows[step][1:], rel=1e-9)


def test_reduced_units_give_energies_of_the_whole_system(run_script):
    text = (
        "units lj\nlattice fcc 0.8\nregion b block 0 3 0 3 0 3\ncreate_box 1 b\n"
        "create_atoms 1 box\n"
        "mass 1 1\npair_style lj/cut 2.5\npair_coeff * * 1 1\nvelocity all create 1.0 1\n"
        "fix 1 all nve\nrun 10\n"
    )
    [run] = run_script(instrument(text, TAG)).runs
    assert run.series["kinetic_energy"][0] == pytest.approx(1.5 * 107 * 1.0, rel=1e-6)
    assert run.series["potential_energy"][0] < -6 * 108


@pytest.mark.parametrize(
    ("script", "error", "command"),
    [
        ("units metal\nrun 10\n", "ERROR: Run command before simulation box is defined", "run 10"),
        ("minimize 0 0 1 1\n", "Minimize command before simulation box is defined", "minimize"),
        (f"{CRYSTAL}run\n", "ERROR: Illegal run command", "run"),
        (f"{CRYSTAL}run abc\n", "ERROR: Expected integer parameter", "run abc"),
        (f"{CRYSTAL}run ${{n}}\n", "Substitution for illegal variable n", None),
        (f"{CRYSTAL}fix 1 all nve\nrun 5\nfoo 3\n", "ERROR: Unknown command: foo 3", "foo 3"),
        (f"{CRYSTAL}run 5 upto past\n", "past", "run 5 upto past"),
        ('if "1 > 0" then "run 5"\n', "Run command before simulation box is defined", "run 5"),
    ],
)
def test_errors_come_out_as_without_probes(run_script, script, error, command):
    plain, probed = run_script(script), run_script(instrument(script, TAG))
    message = user_error(probed.error, TAG)
    assert message == plain.error
    assert TAG not in message
    found = find_error(message)
    assert error in found[0]
    assert found[1] is None or found[1].startswith(command)


def test_a_run_that_fails_midway_shows_how_far_it_came(run_script):
    text = f"{CRYSTAL}fix 1 all nve\nfix 2 all halt 10 v_s > 55 error hard\nrun 100\n"
    text = text.replace("fix 1", "variable s equal step\nfix 1")
    outcome = run_script(instrument(text, TAG))
    [run] = outcome.runs
    assert outcome.error is not None
    assert not run.finished
    assert 50 <= run.last_step <= 60


def test_included_files_are_probed(run_script):
    script = f"{CRYSTAL}fix 1 all nve\ninclude more.in\n"
    files = {"more.in": b"run 20\n", "other.in": b"run 5\n", "data": b"\xff\x00"}
    probed = instrument_files(files, script, TAG)
    assert probed["other.in"] == files["other.in"]
    assert probed["data"] == files["data"]
    outcome = run_script(instrument(script, TAG), **{"more.in": probed["more.in"].decode()})
    assert [run.last_step for run in outcome.runs] == [20]


def test_many_short_runs_are_joined(run_script):
    text = (
        f"{CRYSTAL}velocity all create 300 1\nfix 1 all nve\nvariable i loop 40\nlabel again\n"
        "run 10\nnext i\njump SELF again\n"
    )
    [run] = run_script(instrument(text, TAG)).runs
    assert (run.first_step, run.last_step) == (0, 400)
    assert len(run.series["step"]) <= 256
    assert run.series["step"][-1] == 400


def test_scripts_without_runs_are_unchanged():
    text = "units metal\n# run 10\nprint 'run 10'\nlabel run\n"
    assert instrument(text, TAG) == text


def test_probes_keep_labels_comments_and_continuations():
    text = "label a # here\nfix 1 all &\n nve\nrun 10\njump SELF a\n"
    lines = instrument(text, TAG).splitlines()
    assert [line for line in lines if TAG not in line] == text.splitlines()
    assert len(lines) == 7


def test_without_probes_there_are_no_runs():
    assert parse_runs("") == ()


def test_fields_that_are_no_numbers_are_none():
    head = "begin run 0 4 0.001 10 10 10\n"
    [run] = parse_runs(f"{head}1 nan -inf 1 2 3 4 5 6 7\nend 1 4\n")
    assert run.series["temperature"] == (None,)
    assert run.series["potential_energy"] == (None,)
    assert run.series["kinetic_energy"] == (1.0,)


@pytest.mark.parametrize(("steps", "samples"), [(1, 1), (7, 7), (60, 10), (400, 40), (5000, 50)])
def test_samples_cost_at_most_one_step_in_ten_of_long_runs(run_script, steps, samples):
    cheap = "region b block 0 9 0 9 0 9\ncreate_box 1 b\ncreate_atoms 1 single 1 1 1\nmass 1 1\n"
    [run] = run_script(instrument(f"{cheap}run {steps}\n", TAG)).runs
    assert run.series["step"][-1] == steps
    assert samples <= len(run.series["step"]) <= samples + 2
