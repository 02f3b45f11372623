"""The Slurm scripts run as they are: bash reads them, `#SBATCH` lines are comments to it."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdx.config import load_config
from rollout_farm.cli import main
from rollout_farm.client import Farm
from rollout_farm.config import ClientSecurity, WorkerConfig
from trainers.grpo_config import GrpoConfig

FOLDER = Path(__file__).parent.parent.parent / "deploy/slurm"
BIN = Path(sys.executable).parent


def environment(farm_dir: Path) -> dict[str, str]:
    return os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "FARM_DIR": str(farm_dir),
        "SLURM_JOB_ID": "4711",
        "SLURM_ARRAY_TASK_ID": "0",
        "SLURM_CPUS_PER_TASK": "1",
    }


def exec_words(name: str, farm_dir: Path, *arguments: str) -> list[str]:
    """Return the command that a script ends in, as bash expands it."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert len(re.findall(r"^exec ", text, flags=re.MULTILINE)) == 1
    printing = re.sub(r"^exec ", r"printf '%s\\n' ", text, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", printing, name, *arguments],
        env=environment(farm_dir),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def farm_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "farm of mine"  # spaces must survive the shell
    folder.mkdir(mode=0o700)
    token = folder / "token"
    token.write_text("a-token-of-tests\n", encoding="utf-8")
    token.chmod(0o600)
    return folder


@pytest.fixture
def worker(farm_dir: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["bash", FOLDER / "farm.sbatch"],
        env=environment(farm_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_bash_can_read_the_script(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)


def test_the_worker_takes_the_arguments(farm_dir: Path) -> None:
    program, *rest = exec_words("farm.sbatch", farm_dir)
    assert program == "mdx-farm"
    printed = CliRunner().invoke(main, [*rest, "--print-config"])
    assert printed.exit_code == 0, printed.output


def test_a_worker_drains_before_slurm_kills_it(farm_dir: Path) -> None:
    config = load_config(WorkerConfig, None, exec_words("farm.sbatch", farm_dir)[2:])
    text = (FOLDER / "farm.sbatch").read_text(encoding="utf-8")
    [notice_s] = re.findall(r"^#SBATCH --signal=B:TERM@(\d+)$", text, flags=re.MULTILINE)
    assert config.drain_s + 10 <= int(notice_s)


def test_the_trainer_looks_where_workers_register_and_shows_their_token(farm_dir: Path) -> None:
    served = load_config(WorkerConfig, None, exec_words("farm.sbatch", farm_dir)[2:])
    program, stage, *rest = exec_words("grpo.sbatch", farm_dir, "run_dir=there")
    assert (program, stage, rest[0]) == ("mdx-train", "grpo", "run_dir=there")
    config = load_config(GrpoConfig, None, rest)
    assert config.farm.addresses == [f"dir:{served.register_dir}"]
    assert config.farm.security.token_file == served.security.token_file


def test_a_worker_without_a_token_says_how_to_make_one(farm_dir: Path) -> None:
    (farm_dir / "token").unlink()
    done = subprocess.run(
        ["bash", FOLDER / "farm.sbatch"],
        env=environment(farm_dir),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "openssl rand" in done.stderr


def test_the_array_task_registers_runs_scripts_and_leaves_on_sigterm(
    farm_dir: Path, worker: subprocess.Popen[str]
) -> None:
    folder = farm_dir / "workers"
    wait_for(lambda: folder.is_dir() and any(folder.glob("[!.]*")), worker)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    status = CliRunner().invoke(
        main, ["status", f"dir:{folder}", "--farm-token-file", str(farm_dir / "token")]
    )
    assert "1 slots" in status.output, status.output
    security = ClientSecurity(token_file=str(farm_dir / "token"))
    with Farm([f"dir:{folder}"], security=security) as farm:
        assert farm.num_slots == 1
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert list(folder.iterdir()) == []
