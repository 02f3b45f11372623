"""GRPO end to end: a tiny model, real LAMMPS on a real farm, kills included.

The world that it learns in is told in `grpo_world.py`.
"""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agent.generators import LocalGenerator
from mdx.chat import render_prompt, task_messages
from mdx.config import dump_config, load_config
from mdx.errors import ConfigError, UsageError
from mdx.model.config import LoraConfig
from mdx.model.hf import load_hf
from mdx.model.lora import attach, merge
from mdx.model.peft import load_adapters
from mdx.tokenizer import Tokenizer
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker
from trainers import grpo
from trainers.grpo_config import GrpoConfig
from trainers.policy_loss import PolicyLossConfig
from trainers.recycle import RecycleConfig

from . import several
from .compilations import compilations
from .grpo_world import (
    NUM_STEPS,
    build_world,
    environment,
    exported,
    finish,
    make_config,
    make_task,
    read_lines,
    start,
    untimed,
    wait_for_lines,
)

PLAIN_GRPO = str(Path(__file__).with_name("plain_grpo.py"))
SAMPLING = {"start", "advance", "shrink"}  # the sampler's compiled programs


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    build_world(folder)
    return folder


@pytest.fixture(scope="module")
def finished(world):
    """Return the run directory of an undisturbed run with all of MD-GRPO's terms."""
    config = make_config(world, "finished")
    code, stderr = finish(config, world, JAX_LOG_COMPILES="1")
    assert code == 0, stderr
    Path(config.run_dir, "said").write_text(stderr)
    return config.run_dir


def test_policy_learns_to_write_the_script_that_earns_more(finished):
    rewards = [line["reward"] for line in untimed(finished)]
    assert len(rewards) == NUM_STEPS
    assert np.mean(rewards[-2:]) > rewards[0] + 0.1


def test_metrics_show_the_gap_between_sampler_and_trainer_and_everything_else(finished):
    lines = untimed(finished)
    assert max(line["logprob_gap_max"] for line in lines if "logprob_gap_max" in line) < 1e-4
    assert lines[0]["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert lines[0]["entropy"] > 0
    assert lines[0]["clip_fraction"] == 0.0
    assert {"reward/specification", "status/ok", "status/error"} <= lines[0].keys()
    assert {"dropped_share", "row_fill", "length/mean", "lost"} <= lines[0].keys()
    assert lines[-1]["num_replayed"] > 0
    assert any(line["num_repairs"] > 0 for line in lines)
    assert max(line["queue/size"] for line in lines) > 0
    timed = read_lines(finished, "metrics.jsonl")[0]
    assert {"time/sampling_s", "time/farm_s", "time/update_s", "time/other_s"} <= timed.keys()
    rows = read_lines(finished, "trajectories.jsonl")
    assert {row["step"] for row in rows} == set(range(1, NUM_STEPS + 1))
    assert any(row["error"] and "mas 1 1.0" in row["error"] for row in rows)


def test_each_program_is_compiled_once_a_bucket_and_nothing_else_after_the_first_step(finished):
    """Prompts of two lengths, several numbers of prompts of each, and shrunken batches.

    Three or four first prompts fill the 16 slots, of which the last 4 rows go on alone; one prompt
    of a repair has the longer bucket and 8 rows, too few to shrink.
    """
    found = compilations(Path(finished, "said").read_text())
    assert len(set(found)) == len(found), "no program is compiled twice for equal shapes"
    sampling = [(name, *bucket_and_rows(shapes)) for name, shapes in found if name in SAMPLING]
    assert sorted(sampling) == [
        ("advance", 96, 4),
        ("advance", 96, 16),
        ("advance", 192, 8),
        ("shrink", 96, 16),
        ("start", 96, 4),
        ("start", 192, 1),
    ]
    names = [name for name, _ in found]
    assert names.count("update") == names.count("score") == 1
    assert set(names[names.index("update") + 1 :]) <= SAMPLING, "each for a bucket that is new"


def bucket_and_rows(shapes):
    """Return the length that prompts are filled up to, and the rows; before decoding, prompts."""
    decoding = re.search(r"bool\[(\d+)\]", shapes)  # which rows are active
    if decoding is None:
        num_prompts, length = re.findall(r"int32\[(\d+),(\d+)\]", shapes)[0]
        return int(length), int(num_prompts)
    cache = re.findall(rf"float32\[{decoding[1]},\d+,\d+,(\d+)\]", shapes)
    return max(map(int, cache)) - 96, int(decoding[1])  # room for max_new_tokens


def test_run_stopped_and_then_killed_outright_goes_on_bit_for_bit(world, finished):
    config = make_config(world, "killed")
    with start(config, world) as process:
        wait_for_lines(config.run_dir, 1, process)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=several.PATIENCE_S)
    assert process.returncode == 75, stderr
    stopped = len(untimed(config.run_dir))
    assert stopped < NUM_STEPS
    assert f"stopped: saved after step {stopped}" in stderr
    assert "Traceback" not in stderr
    assert str(stopped) in os.listdir(os.path.join(config.run_dir, "checkpoints"))
    with start(config, world) as process:
        wait_for_lines(config.run_dir, stopped + 1, process)
        process.kill()
        _, stderr = process.communicate()
    assert process.returncode == -signal.SIGKILL, stderr
    assert not os.path.exists(os.path.join(config.run_dir, "complete.json"))
    assert finish(config, world)[0] == 0
    assert untimed(config.run_dir) == untimed(finished)
    rows = [read_lines(run_dir, "trajectories.jsonl") for run_dir in (config.run_dir, finished)]
    assert rows[0] == rows[1]
    jax.tree.map(np.testing.assert_array_equal, exported(config.run_dir), exported(finished))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_learn_what_one_does(world, finished, count):
    """Each samples its share of the prompts on a farm of its own; all metrics are those of one."""
    config = make_config(world, f"of-{count}")
    file = world / f"of-{count}.yaml"
    file.write_text(dump_config(config))
    processes = several.start(["grpo", "--config", str(file)], count, str(world), devices=1)
    ends = several.finish(processes)
    assert [code for code, _, _ in ends] == [0] * count, ends
    assert {end[1:] for end in ends[1:]} == {("", "")}
    for line, expected in zip(untimed(config.run_dir), untimed(finished), strict=True):
        # four devices share a microbatch of four rows, not of two: more of it may be padding
        same = {"row_fill": expected["row_fill"]} if count == 4 and "row_fill" in line else {}
        assert {**line, **same} == pytest.approx(expected, rel=1e-5, abs=1e-5)
    tables = [read_lines(d, "trajectories.jsonl") for d in (config.run_dir, finished)]
    assert [row["completion"] for row in tables[0]] == [row["completion"] for row in tables[1]]


@pytest.fixture(scope="module")
def adapted(world):
    """Return the configuration of a finished run that trained adapters alone."""
    config = make_config(world, "adapted")
    config = replace(
        config,
        lora=LoraConfig(rank=4, alpha=8.0),
        optim=replace(config.optim, num_steps=3, peak_lr=1e-2),
    )
    before = digests(world / "model")
    code, stderr = finish(config, world)
    assert code == 0, stderr
    assert digests(world / "model") == before, "nothing writes to the model that a run starts from"
    return config


def digests(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_adapters_learn_from_the_farm_and_the_export_is_the_base_with_them_merged(adapted):
    lines = untimed(adapted.run_dir)
    assert all(line["num_runs"] > 0 for line in lines)
    assert max(line.get("kl", 0.0) for line in lines[1:]) > 1e-6, "the base itself is the reference"
    model, _, base = load_hf(adapted.init_from, dtype=adapted.lora.base_dtype)
    _, adapters = load_adapters(f"{adapted.run_dir}/adapter", model)
    for path, leaf in jax.tree_util.tree_leaves_with_path(adapters):
        assert np.abs(leaf).max() > 1e-4, path  # B began at 0
    expected = merge(attach(base, adapters), adapted.lora)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        exported(adapted.run_dir),
        expected,
    )


def test_export_of_adapters_answers_alike_in_the_agent_and_in_transformers(adapted):
    export = f"{adapted.run_dir}/export"
    messages = task_messages(make_task(0))
    generator = LocalGenerator(export, temperature=0.0, max_new_tokens=96)
    [answer] = generator.generate(messages, num_candidates=1, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(export)
    prompt = Tokenizer.load(export).encode(render_prompt(messages))
    oracle = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    tokens = oracle.generate(
        torch.tensor([prompt]),
        do_sample=False,
        max_new_tokens=96,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )[0, len(prompt) :]
    assert "units lj" in answer
    assert answer.strip() == tokenizer.decode(tokens, skip_special_tokens=True).strip()


def test_killing_a_worker_changes_nothing_that_is_learnt(world, finished):
    workers = [EmbeddedWorker(WorkerConfig(num_slots=1)) for _ in range(2)]
    config = make_config(world, "worker-killed")
    addresses = [worker.ready.address for worker in workers]
    config = replace(config, farm=replace(config.farm, addresses=addresses))
    try:
        with start(config, world) as process:
            wait_for_lines(config.run_dir, 1, process)
            os.kill(workers[0].pid, signal.SIGKILL)
            _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        assert not workers[0].is_running
    finally:
        for worker in workers:
            worker.close()
    assert untimed(config.run_dir) == untimed(finished)
    assert sum(line["lost"] for line in untimed(config.run_dir)) == 0


def test_without_recycling_md_grpo_is_plain_grpo_bit_for_bit(world, finished):
    config = make_config(world, "plain")
    plain = PolicyLossConfig(kl_coef=0.0, replay_coef=0.0, error_coef=0.0)
    config = replace(
        config,
        rollout=replace(config.rollout, max_refills=0, prompt_buckets=[]),
        update=replace(config.update, loss=plain),
        recycle=RecycleConfig(max_repair_share=0.0),
        optim=replace(config.optim, num_steps=2),
    )
    code, stderr = finish(config, world)
    assert code == 0, stderr
    out_dir = str(world / "plain-expected")
    file = os.path.join(config.run_dir, "config.yaml")
    subprocess.run([sys.executable, PLAIN_GRPO, file, out_dir], env=environment(world), check=True)
    jax.tree.map(np.testing.assert_array_equal, exported(config.run_dir), load_hf(out_dir)[2])
    assert "replay_loss" not in untimed(config.run_dir)[0]
    assert "replay_loss" in untimed(finished)[1]


def test_farm_that_is_gone_scores_nothing_and_ends_the_run(world):
    worker = EmbeddedWorker(WorkerConfig(num_slots=1))
    config = make_config(world, "farm-gone")
    farm = replace(config.farm, addresses=[worker.ready.address], patience_s=1.0)
    config = replace(config, farm=farm)
    with start(config, world) as process:
        wait_for_lines(config.run_dir, 1, process)
        os.kill(worker.pid, signal.SIGKILL)
        _, stderr = process.communicate()
    worker.close()
    assert process.returncode == 1
    assert "error: the farm ran no script in 3 steps" in stderr
    last = untimed(config.run_dir)[-1]
    assert last["lost"] > 0
    assert not {"status/ok", "status/error", "status/crashed", "status/timeout"} & last.keys()
    assert last["num_runs"] == 0
    assert last.get("targets", 0) == 0, "nothing but old successes was learnt from"


def test_a_complete_run_is_not_run_again_and_its_configuration_is_fixed(world, finished):
    before = os.stat(os.path.join(finished, "metrics.jsonl")).st_mtime_ns
    config = load_config(GrpoConfig, os.path.join(finished, "config.yaml"))
    assert grpo.run(config) == finished
    assert os.stat(os.path.join(finished, "metrics.jsonl")).st_mtime_ns == before
    with pytest.raises(UsageError, match=r"rollout\.group_size"):
        grpo.run(replace(config, rollout=replace(config.rollout, group_size=3)))


def test_too_few_tasks_are_refused(world):
    config = make_config(world, "few")
    config = replace(config, rollout=replace(config.rollout, num_prompts=7))
    with pytest.raises(ConfigError, match="needs as many tasks, but only 6"):
        grpo.run(config)


def test_shipped_configuration_is_one_that_fits_its_rows():
    config = load_config(GrpoConfig, "configs/tiny/grpo.yaml")
    longest = config.rollout.max_prompt_tokens + config.rollout.max_new_tokens
    assert longest <= config.update.seq_len
    assert config.update.loss.replay_coef > 0
    assert config.recycle.max_repair_share <= 1 / 3
