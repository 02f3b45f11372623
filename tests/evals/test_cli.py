"""`mdx-eval` as a user meets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evals.codegen import summarise
from evals.report import CodegenConfig, read_report, write_report


def mdx_eval(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command in `folder`; return its exit code and all that it printed.

    It has a process of its own, since it says for the whole process where JAX keeps programs.
    """
    done = subprocess.run(
        [sys.executable, "-c", "from evals.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "MDX_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_help_starts_without_jax() -> None:
    program = (
        "import sys; sys.argv = ['mdx-eval', 'codegen', '--help']\n"
        "from evals.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded:', sorted({'jax', 'flax', 'matplotlib', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "--num-samples" in done.stdout
    assert "loaded: []" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["codegen", "--model", "missing", "--data", "d", "--out", "o"], "missing is none"),
        (["codegen", "--data", "d", "--out", "o"], "--model"),
        (["compare", "one", "two"], "there is no one"),
    ],
)
def test_usage_mistakes_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    code, output = mdx_eval(tmp_path, *arguments)

    assert code == 2
    assert message in output
    assert output.count("\n") == 1


def test_data_folder_without_tasks_is_named_before_any_model_is_loaded(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    arguments = ["--model", str(model), "--data", str(tmp_path / "none"), "--out", "o"]
    code, output = mdx_eval(tmp_path, "codegen", *arguments)

    assert code == 2
    assert str(tmp_path / "none") in output
    assert output.count("\n") == 1


def test_codegen_evaluates_a_model_on_a_split_and_says_where_the_report_is(
    tiny_model: str, data_dir: str, farm_address: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "eval")
    places = ["--model", tiny_model, "--data", data_dir, "--farm", farm_address, "--out", out]
    amounts = ["--num-samples", "2", "--num-tasks", "0", "--max-new-tokens", "16"]
    code, output = mdx_eval(tmp_path, "codegen", *places, *amounts)

    assert code == 0, output
    assert "3 tasks, 2 samples each" in output
    assert f"report: {out}" in output
    assert [task.task_id for task in read_report(out).per_task] == ["lj-10", "lj-20", "lj-30"]
    assert list((tmp_path / "cache" / "jax").iterdir())


def test_farm_that_does_not_answer_is_one_line(
    tiny_model: str, data_dir: str, tmp_path: Path
) -> None:
    places = ["--model", tiny_model, "--data", data_dir, "--out", str(tmp_path / "eval")]
    code, output = mdx_eval(tmp_path, "codegen", *places, "--farm", "127.0.0.1:9")

    assert code == 1
    assert "no farm worker answers (127.0.0.1:9" in output
    assert output.count("\n") == 1
    assert not (tmp_path / "eval").exists()


def test_compare_prints_each_metric_with_its_interval(make_trajectory, tmp_path: Path) -> None:
    for name, rewards in (("sft", (0.2, 0.4)), ("grpo", (0.3, 0.5))):
        trajectories = [make_trajectory(f"t{i}", reward) for i, reward in enumerate(rewards)]
        report = summarise(trajectories, CodegenConfig(), model=name, fingerprint=name)
        write_report(report, trajectories, str(tmp_path / name))
    code, output = mdx_eval(tmp_path, "compare", str(tmp_path / "sft"), str(tmp_path / "grpo"))

    assert code == 0
    assert "grpo minus sft, 2 tasks, paired:" in output
    assert "Mean reward            +0.100  (95 % +0.100 to +0.100)  better" in output
