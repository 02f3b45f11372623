"""A small world for GRPO: tasks, and a policy that may learn to solve them; how to run it there.

The model is first taught to answer each of a few prompts with one of three scripts, drawn at
random: one that does what is asked, one that stops early and one that fails. So groups differ in
reward from the first step on, and learning which script to write is all that is left to learn.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax

from mdx.chat import END_OF_TURN, script_reply
from mdx.config import dump_config
from mdx.data.batch import Batch
from mdx.data.datasets import write_dataset
from mdx.lammps.run import to_json
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import init
from mdx.model.hf import load_hf, save_hf
from mdx.tokenizer import Tokenizer, train_tokenizer
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

from .nve import nve_script, nve_task
from .several import PATIENCE_S

NUM_TASKS, NUM_STEPS, GROUP = 6, 5, 6
COMPUTE = ComputeConfig(attention="blocked")  # which compiles faster


def good_script(number):
    return nve_script((number + 2, 2, 2), num_steps=40)


def bad_scripts(number):
    good = good_script(number)
    return good.replace("run 40", "run 4"), good.replace("mass 1 1.0", "mas 1 1.0")


def make_task(number):
    prompt = f"Run a Lennard-Jones crystal of {number + 2} x 2 x 2 cells, 40 steps NVE."
    return nve_task(number, prompt, num_atoms=16 * (number + 2), num_steps=40)


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


def build_world(folder):
    """Make, in a folder, tasks (`data`) and a policy that may learn to solve them (`model`)."""
    texts = [good_script(n) for n in range(NUM_TASKS)] + [make_task(n).prompt for n in range(9)]
    train_tokenizer(texts * 3, str(folder), 512)
    write_dataset(
        "md_code_gen", str(folder / "data"), {"train": [code_record(n) for n in range(NUM_TASKS)]}
    )
    assert taught_model(Tokenizer.load(str(folder)), folder) < 0.1


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
            prompt_buckets=[96],
            num_slots=16,
            num_examples=6,
        ),
        update=UpdateConfig(seq_len=256, microbatch_rows=2, loss=PolicyLossConfig(kl_coef=0.01)),
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


def start(config, world, **more):
    """Start `mdx-train grpo` on one device, as a user would, with `more` in its environment."""
    file = world / f"{os.path.basename(config.run_dir)}.yaml"
    file.write_text(dump_config(config))
    arguments = [sys.executable, "-m", "trainers.cli", "grpo", "--config", str(file)]
    return subprocess.Popen(
        arguments, env={**environment(world), **more}, stderr=subprocess.PIPE, text=True
    )


def finish(config, world, **more):
    """Run `mdx-train grpo` to its end; return its exit code and what it said."""
    with start(config, world, **more) as process:
        _, stderr = process.communicate(timeout=PATIENCE_S)
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
