"""GRPO end to end: a tiny model, real LAMMPS on a real farm, kills included.

The model is first taught to answer each of a few prompts with one of three scripts, drawn at
random: one that does what is asked, one that stops early and one that fails. So groups differ in
reward from the first step on, and learning which script to write is all that is left to learn.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from mdx.chat import END_OF_TURN, script_reply
from mdx.config import dump_config, load_config
from mdx.data.batch import Batch
from mdx.data.datasets import write_dataset
from mdx.errors import ConfigError, UsageError
from mdx.lammps.run import to_json
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import init
from mdx.model.hf import load_hf, save_hf
from mdx.tasks.task import Check, CheckKind, Potential, Task
from mdx.tokenizer import Tokenizer, train_tokenizer
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker
from trainers import grpo
from trainers.checkpoint import CheckpointConfig
from trainers.farm_config import FarmConfig
from trainers.grpo_config import GrpoConfig
from trainers.losses import make_loss_sum, make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.packing import Segment, pack, row_shape
from trainers.policy_loss import PolicyLossConfig
from trainers.policy_update import UpdateConfig
from trainers.prompts import first_prompt
from trainers.recycle import RecycleConfig
from trainers.rollouts import RolloutConfig
from trainers.state import create_state
from trainers.step import make_train_step

from . import several

NUM_TASKS, NUM_STEPS, GROUP = 6, 5, 6
COMPUTE = ComputeConfig(attention="blocked")  # which compiles faster
PLAIN_GRPO = str(Path(__file__).with_name("plain_grpo.py"))
GOOD = """\
units lj
lattice fcc 0.8442
region box block 0 {n} 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.0 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
fix 1 all nve
run 40
"""


def good_script(number):
    return GOOD.format(n=number + 2)


def bad_scripts(number):
    good = good_script(number)
    return good.replace("run 40", "run 4"), good.replace("mass 1 1.0", "mas 1 1.0")


def make_task(number):
    return Task(
        id=f"nve-{number}",
        family="nve",
        prompt=f"Run a Lennard-Jones crystal of {number + 2} x 2 x 2 cells, 40 steps NVE.",
        checks=(
            Check(kind=CheckKind.UNITS, text="lj"),
            Check(kind=CheckKind.NUM_ATOMS, target=16 * (number + 2), tolerance=0.0),
            Check(kind=CheckKind.ENSEMBLE, text="nve"),
            Check(kind=CheckKind.NUM_STEPS, target=40),
            Check(kind=CheckKind.FINITE),
        ),
        potential=Potential(style="lj/cut 2.5", coeffs=("1 1 1.0 1.0 2.5",)),
        num_steps=40,
    )


def code_record(number):
    task, script = make_task(number), good_script(number)
    empty = ("failed_script", "error", "evidence", "lammps_version", "potential_sha256")
    return {
        **dict.fromkeys(empty, ""),
        **dict.fromkeys(("source", "licence"), "test"),
        "id": task.id,
        "family": task.family,
        "prompt": task.prompt,
        "script": script,
        "task": to_json(task).decode(),
        "reward": 1.0,
    }


def lessons(tokenizer):
    """Return what the starting policy is taught: any of three answers, and how to repair."""
    segments = []
    for number in range(NUM_TASKS):
        good, (short, broken) = good_script(number), bad_scripts(number)
        prompt = first_prompt(make_task(number), tokenizer).tokens
        for script in (good, short, broken):
            completion = tokenizer.encode(script_reply(script) + END_OF_TURN)
            segments.append(Segment(prompt=prompt, completion=completion, replay_weight=1.0))
    return segments


def taught_model(tokenizer, folder):
    """Train a tiny model on the lessons until it gives one of the three answers; save it."""
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_key_value_heads=2,
        head_dim=16,
    )
    graphdef, params = init(config, COMPUTE, jax.random.key(3))
    shape = row_shape(num_segments=3 * NUM_TASKS, max_segment=128, seq_len=256, microbatch_rows=3)
    packed, _ = pack(lessons(tokenizer), shape, pad_id=tokenizer.pad_id)
    batch = Batch(
        tokens=packed.tokens,
        loss_mask=packed.replay_weights,
        segment_ids=packed.segment_ids,
        positions=packed.positions,
    )
    optim = OptimConfig(num_steps=150, peak_lr=5e-3, warmup_steps=5, weight_decay=0.0)
    optimizer = make_optimizer(optim)
    loss = make_next_token_loss(make_loss_sum(graphdef, vocab_block=2048))
    step = make_train_step(loss, optimizer, make_schedule(optim))
    state = create_state(params, optimizer, jax.random.key(0))
    for _ in range(optim.num_steps):
        state, metrics = step(state, batch)
    # A third of ln 3 nats a script is all that is left to be unsure of.
    save_hf(state.params, config, str(folder), str(folder / "model"))
    return float(metrics["loss"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return a folder with tasks (`data`) and a policy that may learn to solve them (`model`)."""
    folder = tmp_path_factory.mktemp("world")
    texts = [good_script(n) for n in range(NUM_TASKS)] + [make_task(n).prompt for n in range(9)]
    train_tokenizer(texts * 3, str(folder), 512)
    write_dataset(
        "md_code_gen", str(folder / "data"), {"train": [code_record(n) for n in range(NUM_TASKS)]}
    )
    assert taught_model(Tokenizer.load(str(folder)), folder) < 0.1
    return folder


def make_config(world, name, **changes):
    config = GrpoConfig(
        run_dir=str(world / name),
        init_from=str(world / "model"),
        compute=COMPUTE,
        rollout=RolloutConfig(
            data_dir=str(world / "data"),
            num_prompts=4,
            group_size=GROUP,
            max_prompt_tokens=160,
            max_new_tokens=96,
            num_slots=16,
            num_examples=6,
        ),
        update=UpdateConfig(seq_len=256, microbatch_rows=2),
        recycle=RecycleConfig(max_repair_share=0.25, replay_below=0.95),
        optim=OptimConfig(num_steps=NUM_STEPS, peak_lr=1e-3, warmup_steps=0),
        checkpoint=CheckpointConfig(save_every=2),
        farm=FarmConfig(num_slots=2, cpu_time_s=20.0),
    )
    return replace(config, **changes)


def environment(world):
    """Return the environment of a process with one device and the compilations of the others."""
    folder = str(world / "jax")
    return {
        **os.environ,
        "XLA_FLAGS": "",
        "MDX_CACHE_DIR": str(world),
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }


def start(config, world):
    """Start `mdx-train grpo` on one device, as a user would."""
    file = world / f"{os.path.basename(config.run_dir)}.yaml"
    file.write_text(dump_config(config))
    arguments = [sys.executable, "-m", "trainers.cli", "grpo", "--config", str(file)]
    return subprocess.Popen(arguments, env=environment(world), stderr=subprocess.PIPE, text=True)


def finish(config, world):
    """Run `mdx-train grpo` to its end; return its exit code and what it said."""
    with start(config, world) as process:
        _, stderr = process.communicate(timeout=170)
    return process.returncode, stderr


def read_lines(run_dir, file):
    with open(os.path.join(run_dir, file), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def untimed(run_dir):
    return [
        {name: value for name, value in line.items() if not name.startswith(("time/", "step_s"))}
        for line in read_lines(run_dir, "metrics.jsonl")
    ]


def wait_for_lines(run_dir, count, process):
    file = Path(run_dir) / "metrics.jsonl"
    while process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)


def exported(run_dir):
    return load_hf(os.path.join(run_dir, "export"))[2]


@pytest.fixture(scope="module")
def finished(world):
    """Return the run directory of an undisturbed run with all of MD-GRPO's terms."""
    config = make_config(world, "finished")
    code, stderr = finish(config, world)
    assert code == 0, stderr
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


def test_run_killed_outright_goes_on_bit_for_bit(world, finished):
    config = make_config(world, "killed")
    with start(config, world) as process:
        wait_for_lines(config.run_dir, 3, process)
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
def test_two_processes_learn_what_one_does(world, finished):
    """Each samples half of the prompts and has a farm of its own; all metrics are those of one."""
    config = make_config(world, "pair")
    file = world / "pair.yaml"
    file.write_text(dump_config(config))
    processes = several.start(["grpo", "--config", str(file)], 2, str(world), devices=1)
    ends = several.finish(processes)
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert ends[1][1:] == ("", "")
    for line, expected in zip(untimed(config.run_dir), untimed(finished), strict=True):
        assert line == pytest.approx(expected, rel=1e-5, abs=1e-5)
    tables = [read_lines(d, "trajectories.jsonl") for d in (config.run_dir, finished)]
    assert [row["completion"] for row in tables[0]] == [row["completion"] for row in tables[1]]


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
        rollout=replace(config.rollout, max_refills=0),
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
