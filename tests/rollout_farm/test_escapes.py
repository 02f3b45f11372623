"""Scripts as attackers: what they try must neither happen nor leak, and must be told apart."""

import socket
from pathlib import Path

import pytest

from mdx.lammps import library
from mdx.lammps.run import RunRequest, RunStatus, to_json
from rollout_farm.client import Farm

CRYSTAL = """units real
lattice fcc 4.0
region box block 0 2 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 40.0
pair_style lj/cut 8.0
pair_coeff 1 1 0.2 3.4
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    tmp_path.chmod(0o777)  # so that a successful attack as `nobody` would be seen
    for folder in tmp_path.parents:
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    return tmp_path / "marker"


@pytest.mark.parametrize(
    "attack",
    [
        "shell touch {marker}\n",
        "variable c string shell\n${{c}} touch {marker}\n",
        'if "1 == 1" then "shell touch {marker}"\n',
        "print 'shell touch {marker}' file more.lammps\ninclude more.lammps\n",
        "shell sleep 100 &\n",
        "shell kill -9 1\n",
    ],
)
def test_script_that_starts_a_program_is_killed_and_says_so(run, marker, attack):
    result = run(attack.format(marker=marker))
    assert result.status is RunStatus.SCREENED
    assert "not start programs" in result.error
    assert not marker.exists()


def test_the_command_that_was_denied_is_named(run):
    assert run("units lj\nshell ls\nlattice fcc 1\n").failed_command == "shell ls"


def test_file_name_with_backticks_runs_no_shell(run, marker):
    script = CRYSTAL + f'dump 1 all custom 1 "x`touch {marker}`.gz" id\nrun 0\n'
    result = run(script)
    assert result.status in (RunStatus.ERROR, RunStatus.SCREENED)
    assert not marker.exists()


def test_listening_on_the_network_is_denied(run):
    result = run(CRYSTAL + "fix 1 all imd 9999\n")
    assert result.status is RunStatus.SCREENED


def test_connecting_to_the_host_is_denied(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        result = run(CRYSTAL + f"fix 1 all ipi 127.0.0.1 {server.getsockname()[1]}\nrun 1\n")
        assert result.status is RunStatus.SCREENED
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "theft",
    [
        "include {path}\n",
        "variable x file {path}\nprint ${{x}}\n",
        "jump {path}\n",
        CRYSTAL.replace("{", "{{") + "read_dump {path} 0 x y z\n",
        "read_data {path}\n",
        "molecule m {path}\n",
    ],
)
@pytest.mark.parametrize("path", ["/etc/passwd", "secret"])
def test_file_of_the_host_cannot_be_read(run, tmp_path, theft, path):
    secret = tmp_path / "secret"
    secret.write_text("units lj\nroot:hunter2\n")
    path = str(secret) if path == "secret" else path
    result = run(theft.format(path=path), want_outputs=("*",))
    assert result.status is RunStatus.ERROR
    shown = to_json(result)
    assert b"root:" not in shown
    assert b"hunter2" not in shown


def test_environment_of_the_client_does_not_reach_scripts(monkeypatch):
    monkeypatch.setenv("MDX_TEST_SECRET", "hunter2")
    with Farm(num_slots=1) as farm:
        result = farm.run(
            RunRequest(script="variable s getenv MDX_TEST_SECRET\nprint 'found <${s}>'\n")
        )
    assert "found <>" in result.log


def test_potentials_and_root_cannot_be_written(run):
    potentials = Path(library.potentials_dir())
    before = sorted(potentials.iterdir())
    for place in ("/potentials", str(potentials), "/"):
        assert run(f"print x file {place}/evil\n").status is RunStatus.ERROR
        run(f"shell mkdir {place}/evil\nshell rmdir {place}\nshell rm {place}/Cu_u3.eam\n")
    assert sorted(potentials.iterdir()) == before
    assert not Path("/evil").exists()


def test_nothing_stays_behind_for_the_next_script(run):
    for _ in range(3):
        run("print secret file left.txt\nshell mkdir deep\n", want_outputs=("*",))
        result = run("include left.txt\n")
        assert result.status is RunStatus.ERROR


def test_reward_checks_are_not_in_the_process_that_runs_the_script():
    # the zygote gets an `Order` and the files; a field for checks or the task would be a leak
    from rollout_farm.messages import Order

    fields = {"number", "limits", "potential", "image_pixels", "want_evidence", "cancel"}
    assert set(Order.__dataclass_fields__) == fields
