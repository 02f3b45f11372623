"""What a run remembers: prompts follow from it, and it survives a round trip through JSON."""

import json

import numpy as np
import pytest

from mdx.chat import END_OF_TURN, script_reply
from mdx.lammps.run import Reward, RunResult, RunStatus
from mdx.lammps.script import extract_script
from mdx.tasks.task import Task
from mdx.tokenizer import Tokenizer, train_tokenizer
from mdx.trajectory import Completion, StopReason, Trajectory, TrajectoryGroup
from trainers.memory import Memory
from trainers.prompts import first_prompt
from trainers.recycle import RecycleConfig
from trainers.rollout_report import example_rows, summarise_queue, summarise_rollouts
from trainers.rollouts import Rollout

GOOD, BAD = "units lj\nrun 10", "units lj\nrun ten"
ERROR = "ERROR: Expected integer parameter instead of 'ten'"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([GOOD, BAD, "Please run task number 0123456789."] * 9, str(folder), 384)
    return Tokenizer.load(str(folder))


def make_tasks(count=12):
    return [Task(id=f"t{n}", family="nve", prompt=f"Please run task {n}.") for n in range(count)]


def make_memory(tokenizer, max_prompt_tokens=500, **recycle):
    return Memory.blank(RecycleConfig(**recycle), make_tasks(), tokenizer, max_prompt_tokens)


def rolled_out(prompt, rewards, tokenizer):
    """Return a rollout whose completions got `rewards`; None: lost; a pass wrote GOOD."""
    trajectories = []
    for number, total in enumerate(rewards):
        script = GOOD if (total or 0) >= 0.9 else f"{BAD}{number}"
        status = RunStatus.OK if (total or 0) >= 0.9 else RunStatus.ERROR
        trajectories.append(
            Trajectory(
                id=f"{prompt.task.id}.{number}",
                task=prompt.task,
                prompt_tokens=prompt.tokens,
                completion=Completion(
                    tokens=(1,) * (number + 1),
                    logprobs=(-1.0,) * (number + 1),
                    text=script_reply(script),
                    stop_reason=StopReason.EOS if number else StopReason.LENGTH,
                ),
                script=script,
                result=None
                if total is None
                else RunResult(status=status, error=None if status is RunStatus.OK else ERROR),
                reward=None if total is None else Reward(total=total, components={"box": total}),
                parent=prompt.failure.trajectory_id if prompt.failure else None,
            )
        )
    return Rollout(prompt=prompt, group=TrajectoryGroup(trajectories=tuple(trajectories)))


def rng():
    return np.random.default_rng(0)


def test_prompts_are_first_attempts_until_there_are_failures_then_within_the_budget(tokenizer):
    memory = make_memory(tokenizer, adapt_share=False)
    prompts = memory.choose_prompts(9, 0, rng())
    assert [p.failure for p in prompts] == [None] * 9
    memory.learn([rolled_out(p, [0.1, 0.3, 0.2, 0.0], tokenizer) for p in prompts], 0)
    prompts = memory.choose_prompts(9, 1, rng())
    assert [p.failure is not None for p in prompts] == [False] * 6 + [True] * 3
    refill = memory.choose_prompts(9, 1, rng(), repairs=False)
    assert [p.failure for p in refill] == [None] * 9


def test_failures_of_repairs_are_repaired_once_more_and_no_further(tokenizer):
    memory = make_memory(tokenizer, adapt_share=False, max_per_task=1, max_tries=1)
    prompts = memory.choose_prompts(3, 0, rng())[:1]
    depths = []
    for version in range(4):
        memory.learn([rolled_out(p, [0.1, 0.3], tokenizer) for p in prompts], version)
        prompts = [p for p in memory.choose_prompts(3, version + 1, rng()) if p.failure]
        depths += [p.depth for p in prompts]
    assert max(depths) == 2


def test_lost_trajectories_are_neither_failures_nor_counted(tokenizer):
    memory = make_memory(tokenizer)
    (prompt, *_) = memory.choose_prompts(9, 0, rng())
    memory.learn([rolled_out(prompt, [None, None, 1.0, None], tokenizer)], 0)
    assert memory.queue.waiting == []
    assert memory.rates.tasks[prompt.task.id] == (1.0, 1.0)
    assert [s.script for s in memory.successes.kept] == [GOOD]


def test_failures_whose_repair_prompt_is_too_long_are_not_queued(tokenizer):
    prompt = first_prompt(make_tasks()[0], tokenizer)
    short = make_memory(tokenizer, max_prompt_tokens=len(prompt.tokens) + 5)
    short.learn([rolled_out(prompt, [0.1, 0.2], tokenizer)], 0)
    assert short.queue.waiting == []


def test_replay_is_the_script_on_the_original_prompt_even_if_it_was_a_repair(tokenizer):
    memory = make_memory(tokenizer, adapt_share=False)
    prompts = memory.choose_prompts(9, 0, rng())
    memory.learn([rolled_out(p, [0.0, 0.3], tokenizer) for p in prompts], 0)
    repair = memory.choose_prompts(9, 1, rng())[-1]
    assert repair.failure is not None
    memory.learn([rolled_out(repair, [1.0, 0.0], tokenizer)], 1)
    (segment,) = memory.replay()
    assert tuple(segment.prompt) == first_prompt(repair.task, tokenizer).tokens
    text = tokenizer.decode(segment.completion, skip_special_tokens=False)
    assert text.endswith(END_OF_TURN)
    assert extract_script(tokenizer.decode(segment.completion)).strip() == GOOD
    assert segment.replay_weight == pytest.approx(1 - memory.rates.rate(repair.task))
    assert repair.task.id in memory.rates.tasks


def test_memory_read_back_from_json_chooses_the_same_prompts(tokenizer):
    memory, restored = make_memory(tokenizer), make_memory(tokenizer)
    for version in range(3):
        prompts = memory.choose_prompts(9, version, np.random.default_rng(version))
        memory.learn([rolled_out(p, [0.1, 1.0, 0.2], tokenizer) for p in prompts], version)
    restored.load_json(json.loads(json.dumps(memory.to_json())))
    assert restored == memory
    assert restored.choose_prompts(9, 3, rng()) == memory.choose_prompts(9, 3, rng())
    assert restored.replay() == memory.replay()


def test_figures_of_a_step(tokenizer):
    memory = make_memory(tokenizer, adapt_share=False)
    prompts = memory.choose_prompts(9, 0, rng())
    memory.learn([rolled_out(p, [0.0, 0.3], tokenizer) for p in prompts], 0)
    first, *_, repair = memory.choose_prompts(9, 1, rng())
    rollouts = [
        rolled_out(first, [1.0, 0.2, None, 0.3], tokenizer),
        rolled_out(repair, [0.5, 0.5], tokenizer),
    ]
    figures = summarise_rollouts(rollouts, num_planned=2)
    assert figures["reward"] == pytest.approx(0.5)
    assert figures["pass_rate"] == pytest.approx(1 / 3)
    assert figures["repair/reward"] == 0.5
    assert figures["reward/box"] == pytest.approx((1.0 + 0.2 + 0.3 + 0.5 + 0.5) / 5)
    assert (figures["status/ok"], figures["status/error"], figures["status/lost"]) == (1, 4, 1)
    assert figures["dropped_share"] == 0.5
    assert (figures["lost"], figures["num_repairs"], figures["num_refilled"]) == (1, 1, 0)
    assert figures["length/mean"] == pytest.approx((1 + 2 + 3 + 4 + 1 + 2) / 6)
    assert figures["length/cut_share"] == pytest.approx(2 / 6)
    queue = summarise_queue(memory.queue, version=1)
    assert queue["queue/size"] == len(memory.queue.waiting)
    assert sum(v for k, v in queue.items() if k.startswith("queue/error/")) == queue["queue/size"]
    best, worst, *rest = example_rows(rollouts, limit=3)
    assert (best["reward"], worst["reward"], len(rest)) == (1.0, 0.2, 1)
    assert rest[0]["parent"] == repair.failure.trajectory_id
    assert rest[0]["repairs_error"] == ERROR
