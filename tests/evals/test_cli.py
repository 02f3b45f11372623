"""`mdx-eval` as a user meets it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from click.testing import CliRunner
from jax.experimental.compilation_cache import compilation_cache

from evals.cli import main
from evals.codegen import summarise
from evals.report import CodegenConfig, read_report, write_report


@pytest.fixture(autouse=True)
def no_cache_for_later_tests(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Undo what the command sets for its whole process: where compiled programs are kept.

    Later tests of this process would read programs of other machines and compilers there.
    """
    monkeypatch.setenv("MDX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    before = jax.config.jax_compilation_cache_dir
    compilation_cache.reset_cache()  # it counts as unused from a process's first compilation on
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


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
def test_usage_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == 2
    assert message in done.output
    assert done.output.count("\n") == 1


def test_data_folder_without_tasks_is_named_before_any_model_is_loaded(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    arguments = ["--model", str(model), "--data", str(tmp_path / "none"), "--out", "o"]
    done = CliRunner().invoke(main, ["codegen", *arguments])

    assert done.exit_code == 2
    assert str(tmp_path / "none") in done.output
    assert done.output.count("\n") == 1


def test_codegen_evaluates_a_model_on_a_split_and_says_where_the_report_is(
    tiny_model: str, data_dir: str, farm_address: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "eval")
    places = ["--model", tiny_model, "--data", data_dir, "--farm", farm_address, "--out", out]
    amounts = ["--num-samples", "2", "--num-tasks", "0", "--max-new-tokens", "16"]
    done = CliRunner().invoke(main, ["codegen", *places, *amounts])

    assert done.exit_code == 0, done.output
    assert "3 tasks, 2 samples each" in done.output
    assert f"report: {out}" in done.output
    assert [task.task_id for task in read_report(out).per_task] == ["lj-10", "lj-20", "lj-30"]
    assert list(Path(os.environ["MDX_CACHE_DIR"]).glob("jax/*"))


def test_farm_that_does_not_answer_is_one_line(
    tiny_model: str, data_dir: str, tmp_path: Path
) -> None:
    places = ["--model", tiny_model, "--data", data_dir, "--out", str(tmp_path / "eval")]
    done = CliRunner().invoke(main, ["codegen", *places, "--farm", "127.0.0.1:9"])

    assert done.exit_code == 1
    assert "no farm worker answers (127.0.0.1:9" in done.output
    assert done.output.count("\n") == 1
    assert not (tmp_path / "eval").exists()


def test_compare_prints_each_metric_with_its_interval(make_trajectory, tmp_path: Path) -> None:
    for name, rewards in (("sft", (0.2, 0.4)), ("grpo", (0.3, 0.5))):
        trajectories = [make_trajectory(f"t{i}", reward) for i, reward in enumerate(rewards)]
        report = summarise(trajectories, CodegenConfig(), model=name, fingerprint=name)
        write_report(report, trajectories, str(tmp_path / name))
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "sft"), str(tmp_path / "grpo")])

    assert done.exit_code == 0
    assert "grpo minus sft, 2 tasks, paired:" in done.output
    assert "Mean reward            +0.100  (95 % +0.100 to +0.100)  better" in done.output
