"""`mdx-agent` as a user meets it: exit codes, one clear line, a fast start."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import main


def test_help_starts_without_jax_and_matplotlib() -> None:
    program = (
        "import sys; sys.argv = ['mdx-agent', 'solve', '--help']\n"
        "from agent.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded:', sorted({'jax', 'flax', 'matplotlib', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "--max-attempts" in done.stdout
    assert "loaded: []" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Run argon.", "--model", "missing"], "there is no missing/config.json"),
        (["Run argon."], "--model is needed"),
        ([" ", "--model", "m"], "the REQUEST is empty"),
        (["--model", "m"], "give either a REQUEST"),
        (["--task", "missing.json", "--model", "m"], "there is no missing.json"),
        (["Run argon.", "--model", "m", "--endpoint", "localhost"], "must begin with http"),
    ],
)
def test_usage_mistakes_are_one_line_and_leave_no_folder(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["solve", *arguments, "--run-dir", "out"])

    assert done.exit_code == 2
    assert message in done.output
    assert done.output.count("\n") == 1
    assert not Path("out").exists()


def test_file_that_holds_no_task_is_named(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text('{"id": "x"}')
    done = CliRunner().invoke(main, ["solve", "--task", str(file), "--model", "m"])

    assert done.exit_code == 2
    assert "holds no task" in done.output


def test_random_model_is_run_and_its_failure_is_exit_code_1(
    tiny_model: str, farm_address: str, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    arguments = ["Run argon.", "--model", tiny_model, "--run-dir", str(run_dir)]
    options = ["--max-attempts", "2", "--candidates", "3", "--farm", farm_address]
    done = CliRunner().invoke(main, ["solve", *arguments, *options])

    assert done.exit_code == 1, done.output
    assert "attempt 2.3: no script" in done.output
    assert "not solved (checks applied: the run ended without an error" in done.output
    answers = [file.read_text() for file in run_dir.glob("attempts/*/answer.txt")]
    assert len(set(answers)) == 6  # each attempt and candidate has random numbers of its own
