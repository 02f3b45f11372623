"""Probes see what runs did, change nothing, and leave no trace in what people read."""

import re

import pytest

from mdx.lammps.log import find_error
from mdx.lammps.probes import (
    instrument,
    instrument_files,
    strip_probes,
)
from mdx.lammps.run import ActiveFix

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
    plain, probed = run_script(text), run_script(instrument(text))
    assert plain.error is None
    assert probed.error is None
    assert len(thermo_rows(plain.log)) > 300
    assert thermo_rows(strip_probes(probed.log)) == thermo_rows(plain.log)
    assert "fifty" in probed.log
    assert plain.runs == ()


def test_probes_record_every_run(run_script):
    outcome = run_script(instrument(MIXED.replace("run 11 upto", "run 11")))
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
    outcome = run_script(instrument(text))
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
    [run] = run_script(instrument(text)).runs
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
    plain, probed = run_script(script), run_script(instrument(script))
    message = strip_probes(probed.error)
    assert message == plain.error
    assert "mdx" not in message
    found = find_error(message)
    assert error in found[0]
    assert found[1] is None or found[1].startswith(command)


def test_a_run_that_fails_midway_shows_how_far_it_came(run_script):
    text = f"{CRYSTAL}fix 1 all nve\nfix 2 all halt 10 v_s > 55 error hard\nrun 100\n"
    text = text.replace("fix 1", "variable s equal step\nfix 1")
    outcome = run_script(instrument(text))
    [run] = outcome.runs
    assert outcome.error is not None
    assert not run.finished
    assert 50 <= run.last_step <= 60


def test_included_files_are_probed(run_script):
    script = f"{CRYSTAL}fix 1 all nve\ninclude more.in\n"
    files = {"more.in": b"run 20\n", "other.in": b"run 5\n", "data": b"\xff\x00"}
    probed = instrument_files(files, script)
    assert probed["other.in"] == files["other.in"]
    assert probed["data"] == files["data"]
    outcome = run_script(instrument(script), **{"more.in": probed["more.in"].decode()})
    assert [run.last_step for run in outcome.runs] == [20]


def test_many_short_runs_are_joined(run_script):
    text = (
        f"{CRYSTAL}velocity all create 300 1\nfix 1 all nve\nvariable i loop 40\nlabel again\n"
        "run 10\nnext i\njump SELF again\n"
    )
    [run] = run_script(instrument(text)).runs
    assert (run.first_step, run.last_step) == (0, 400)
    assert len(run.series["step"]) <= 256
    assert run.series["step"][-1] == 400


def test_scripts_without_runs_are_unchanged():
    text = "units metal\n# run 10\nprint 'run 10'\nlabel run\n"
    assert instrument(text) == text


def test_probes_keep_labels_comments_and_continuations():
    text = "label a # here\nfix 1 all &\n nve\nrun 10\njump SELF a\n"
    lines = instrument(text).splitlines()
    expected = text.replace("run 10", "mdx_run 10").splitlines()
    assert lines == expected


def test_values_that_are_not_finite_are_none(run_script):
    cold = "region b block 0 9 0 9 0 9\ncreate_box 1 b\ncreate_atoms 1 single 1 1 1\nmass 1 1\n"
    wild = f"{cold}pair_style zero 2.0\npair_coeff * *\nvelocity all set 1e200 0 0\nrun 0\n"
    run = run_script(instrument(wild)).runs[-1]
    assert run.series["kinetic_energy"][-1] is None
    assert run.series["potential_energy"][-1] == 0.0


def test_box_that_is_not_finite_is_no_number(run_script):
    box = "region b block 0 2 0 2 0 2\ncreate_box 1 b\nmass 1 1\npair_style none\n"
    scaled = 2 * "change_box all x scale 1e308\n"
    outcome = run_script(instrument(f"{box}{scaled}run 0\n"))
    assert outcome.runs[0].first_box_lengths is None


def test_using_the_probed_command_oneself_records_the_truth(run_script):
    script = f"{CRYSTAL}fix 1 all nve\nmdx_run 5\nreset_timestep 500\nmdx_run 0\n"
    runs = run_script(script).runs
    assert [(run.first_step, run.last_step) for run in runs] == [(0, 5), (500, 500)]


@pytest.mark.parametrize("nest", [False, True])
def test_error_within_a_run_ends_the_script_as_lammps_does(run_script, nest):
    script = f"{CRYSTAL}pair_style none\npair_style lj/cut 2.5\nrun 10\n"
    files = {}
    if nest:
        files = {"more.in": instrument(script)}
        script = "include more.in\n"
    outcome = run_script(instrument(script) + "print 'went on' file proof\n", **files)
    plain = run_script(script.replace("more.in", "plain.in"), **{"plain.in": "run 10\n"})
    assert "ERROR" in plain.error
    assert "coeffs are not set" in strip_probes(outcome.error)
    assert "mdx" not in strip_probes(outcome.error)
    assert not (outcome.folder / "proof").exists()
    [run] = outcome.runs
    assert not run.finished


def test_what_a_run_recorded_is_out_of_the_scripts_reach(run_script):
    script = f"{CRYSTAL}fix 1 all nve\nlog all.log\necho both\nrun 5\n"
    outcome = run_script(instrument(script) + "info all out overwrite info.txt\n")
    assert [path.name for path in outcome.folder.iterdir() if "mdxp" in path.name] == []
    assert "mdxp" not in (outcome.folder / "info.txt").read_text()


@pytest.mark.parametrize(
    ("every", "trusted"),
    [
        ("NULL", True),
        ("\"print 'step $(step)'\"", True),
        ("\"print 'x' append forged\"", False),
        ('"unfix 1" "fix 1 all nve"', False),
        ('"info fixes out overwrite names"', False),
        ("\"print '${text}'\"", False),
    ],
)
def test_commands_within_a_run_that_could_forge_it_make_it_untrusted(run_script, every, trusted):
    script = f"{CRYSTAL}fix 1 all nve\nvariable text string x\nrun 10 every 5 {every}\n"
    [run] = run_script(instrument(script)).runs
    assert run.last_step == 10
    assert run.trusted is trusted


@pytest.mark.parametrize(("steps", "samples"), [(1, 1), (7, 7), (60, 10), (400, 40), (5000, 50)])
def test_samples_cost_at_most_one_step_in_ten_of_long_runs(run_script, steps, samples):
    cheap = "region b block 0 9 0 9 0 9\ncreate_box 1 b\ncreate_atoms 1 single 1 1 1\nmass 1 1\n"
    [run] = run_script(instrument(f"{cheap}run {steps}\n")).runs
    assert run.series["step"][-1] == steps
    assert samples <= len(run.series["step"]) <= samples + 2


@pytest.mark.parametrize(
    "runs",
    [
        "run 5\nrun 5\n",
        "variable n equal 5\nrun ${n} # five\nrun   $(v_n)\n",
        "run 5 &\n  post no\n",
        "&\nrun 5\n",
        "ru&\nn 5\n",
        'if "1 > 0" then "run 5" "print yes" else "run 6"\n',
        "label a\nvariable k loop 3\nrun 2\nnext k\njump SELF a\n",
        "minimize 0 0 3 3\nclear\n",
        "run 5 every 2 \"print 'at $(step)'\"\n",
        "run 10 pre off\n",
        "# a page\x0cbreak and a \u2028 separator\nrun 3\n",
        "run 4 every 2 'reset_timestep 0'\n",
    ],
)
def test_log_is_that_of_the_script_without_probes(run_script, runs):
    text = f"{CRYSTAL}fix 1 all nve\nvelocity all create 300 1\n{runs}print end\n"
    plain, probed = run_script(text), run_script(instrument(text))
    assert (probed.error, plain.error) == (None, None)
    told = [
        [line for line in log.split("\n") if line.startswith(("run", "min", "print", "if"))]
        for log in (strip_probes(probed.log), plain.log)
    ]
    assert told[0] == told[1]
    assert "mdx" not in strip_probes(probed.log)


@pytest.mark.parametrize("other", ["", "print mdx\n"])  # the word in a log means a closer look
def test_the_time_that_is_left_is_taken_out_of_logs(other: str):
    left = "  Walltime left : 0:00:58"
    logs = {
        f"{left}\na": "a",
        f"a\n{left}\nb\n": "a\nb\n",
        f"a\n{left}": "a",
        f"a{left}": f"a{left}",
    }
    for log, want in logs.items():
        assert strip_probes(other + log) == other + want


def test_runs_in_files_included_by_an_if_are_probed(run_script):
    files = {"a.in": b"run 3\n"}
    text = f'{CRYSTAL}if "1 > 0" then "include ./a.in"\n'
    probed = instrument_files(files, text)
    [run] = run_script(instrument(text), **{"a.in": probed["a.in"].decode()}).runs
    assert run.last_step == 3
