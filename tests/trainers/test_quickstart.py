"""The whole story, really run, on a model too small to learn anything."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from evals.report import read_report
from mdx.config import load_config
from mdx.data.tasks import load_examples
from mdx.errors import ConfigError, UsageError
from mdx.tasks.splits import skeleton
from trainers import quickstart
from trainers.quickstart import QuickstartConfig
from trainers.summary import STAGES

SHIPPED = "configs/quickstart.yaml"
TINY = (
    "model.vocab_size=640",
    "num_eval_tasks=8",
    "data.num_train_scripts=20",
    "data.num_validation_scripts=4",
    "data.num_test_scripts=12",
    "data.phrasings_per_script=1",
    "data.num_questions=40",
    "model.hidden_size=32",
    "model.intermediate_size=32",
    "model.num_hidden_layers=1",
    "model.head_dim=8",
    "cpt.optim.num_steps=2",
    "sft.optim.num_steps=2",
    "grpo.optim.num_steps=1",
    "grpo.rollout.num_prompts=2",
    "grpo.rollout.group_size=2",
    "grpo.rollout.max_refills=0",
    "grpo.rollout.max_prompt_tokens=256",
    "grpo.rollout.max_new_tokens=32",
    "codegen.max_new_tokens=32",
    "agent.max_attempts=1",
    "agent.num_candidates=1",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("quickstart") / "run"
    config = load_config(QuickstartConfig, SHIPPED, (*TINY, f"run_dir={run_dir}"))
    quickstart.run(config)
    return config, run_dir


@pytest.mark.timeout(300)
def test_summary_has_every_stage_metric_interval_and_phase(finished):
    _, run_dir = finished
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in summary["stages"]] == list(STAGES)
    for stage in summary["stages"]:
        assert stage["num_tasks"] == 8
        for metric in ("exec_success_at_1", "exec_success_at_3", "pass_rate", "mean_reward"):
            low, high = stage["ci95"][metric]
            assert low <= stage[metric] <= high
    assert summary["grpo_minus_sft"]["ci95"][0] <= summary["grpo_minus_sft"]["ci95"][1]
    phases = {phase["name"]: phase["wall_s"] for phase in summary["phases"]}
    assert phases["grpo"] > 0
    assert set(phases) > {"install", "data", "tokenizer", "cpt", "sft", "agent"}
    markdown = (run_dir / "summary.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in markdown for name in (*STAGES, *phases))


def test_difference_of_grpo_and_sft_is_that_of_their_means(finished):
    _, run_dir = finished
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    means = {stage["name"]: stage["mean_reward"] for stage in summary["stages"]}
    assert summary["grpo_minus_sft"]["mean"] == pytest.approx(means["grpo"] - means["sft"])


def test_no_evaluated_task_shares_a_text_or_a_script_with_training(finished):
    _, run_dir = finished
    train = load_examples(str(run_dir / "data"), "train")
    test = load_examples(str(run_dir / "data"), "test")
    evaluated = {score.task_id for score in read_report(str(run_dir / "eval" / "grpo")).per_task}
    held_out = [example for example in test if example.task.id in evaluated]
    assert len(held_out) == len(evaluated)
    assert not {e.task.prompt for e in train} & {e.task.prompt for e in held_out}
    assert not {skeleton(e.script) for e in train} & {skeleton(e.script) for e in held_out}


def test_an_unfinished_run_goes_on_and_a_finished_one_is_moved_aside(finished, tmp_path):
    config, run_dir = finished
    (run_dir / "summary.json").unlink()
    before = (run_dir / "phases.json").read_text(encoding="utf-8")
    quickstart.run(config)  # everything but the summary is finished
    assert (run_dir / "summary.json").is_file()
    after = (run_dir / "phases.json").read_text(encoding="utf-8")
    assert json.loads(after)["seconds"] == json.loads(before)["seconds"]

    quickstart.claim(config)
    assert (run_dir.with_name("run.1") / "summary.json").is_file()
    assert not (run_dir / "summary.json").exists()
    run_dir.with_name("run.1").joinpath("phases.json").read_text(encoding="utf-8")

    quickstart.claim(replace(config, seed=7))
    assert run_dir.with_name("run.2").is_dir()


def test_shipped_configuration_evaluates_at_least_200_held_out_tasks():
    config = load_config(QuickstartConfig, SHIPPED)
    assert config.num_eval_tasks >= 200
    assert config.data.num_test_scripts > config.num_eval_tasks
    assert config.codegen.num_samples >= 3


def test_unknown_keys_end_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "trainers.cli", "quickstart", "--config", SHIPPED, "sed=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: unknown configuration key 'sed'")
    assert "Traceback" not in done.stderr


def test_a_folder_of_someone_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    config = load_config(QuickstartConfig, SHIPPED, (f"run_dir={tmp_path}",))
    with pytest.raises(UsageError, match="holds other files"):
        quickstart.claim(config)
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "years of work"


def test_keys_that_the_quickstart_derives_are_refused():
    for override in ("sft.seed=3", "cpt.model.hidden_size=64", "grpo.run_dir=x", "data.seed=1"):
        with pytest.raises(ConfigError, match="is derived in the quickstart"):
            load_config(QuickstartConfig, SHIPPED, (override,))
