"""Rollouts against the real farm; the completions are replayed from a script of our own."""

import itertools
import os
import signal
from dataclasses import dataclass, replace

import jax
import pytest

from mdx.chat import END_OF_TURN, error_line, script_reply
from mdx.errors import ConfigError
from mdx.lammps.run import Reward, RunLimits, RunResult, RunStatus
from mdx.rewards import describe_failure
from mdx.tokenizer import Tokenizer, train_tokenizer
from rollout_farm.client import Farm
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import EmbeddedWorker
from trainers.memory import find_failures, find_successes
from trainers.prompts import first_prompt, repair_prompt
from trainers.recycle import Failure
from trainers.rollouts import PhaseClock, RolloutConfig, Workshop, roll_out

from .nve import nve_script, nve_task

GOOD = nve_script((3, 3, 3), num_steps=50)
SHORT = GOOD.replace("run 50", "run 5")
BROKEN = GOOD.replace("mass 1 1.0", "mas 1 1.0")
ENDLESS = GOOD.replace("run 50", "run 50000000")


def make_task(number=0):
    prompt = f"Run a Lennard-Jones fcc crystal of 108 atoms for 50 NVE steps, please ({number})."
    return nve_task(number, prompt, num_atoms=108, num_steps=50)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([GOOD, BROKEN, make_task().prompt] * 4, str(folder), 512)
    return Tokenizer.load(str(folder))


@pytest.fixture(scope="module")
def farm():
    with Farm(num_slots=2) as farm:
        yield farm


@dataclass
class SampledText:
    tokens: list
    logprobs: list


class Replay:
    """A generator that gives out the written texts, the last group first.

    Before each completion it calls `before`, as a sampler that takes its time would.
    """

    def __init__(self, tokenizer, groups, before=lambda: None):
        self.tokenizer, self.groups, self.before = tokenizer, groups, before

    def __call__(self, params, prompts, key, numbers):
        assert len(self.groups) == len(prompts)
        for number, group in reversed(list(enumerate(self.groups))):
            for index, text in enumerate(group):
                self.before()
                tokens = self.tokenizer.encode(text + END_OF_TURN)
                yield number, index, SampledText(tokens, [-0.5] * len(tokens))


class Counting:
    """The real farm, counting what is sent to it."""

    def __init__(self, farm):
        self.farm, self.scripts = farm, []

    def submit(self, request):
        self.scripts.append(request.script)
        return self.farm.submit(request)


def rolled_out(prompts, farm, tokenizer, groups, before=lambda: None):
    workshop = Workshop(
        sample=Replay(tokenizer, groups, before),
        farm=farm,
        tokenizer=tokenizer,
        limits=RunLimits(wall_time_s=20),
    )
    return roll_out(None, prompts, jax.random.key(0), workshop, name="7.0", clock=PhaseClock())


def test_rollout_scores_what_each_script_did_and_runs_equal_scripts_once(farm, tokenizer):
    prompts = [first_prompt(make_task(n), tokenizer) for n in range(2)]
    good, short, broken = map(script_reply, (GOOD, SHORT, BROKEN))
    groups = [[good, broken, good, "no idea"], [short, good, short, short]]
    counting, sent = Counting(farm), []
    first, second = rolled_out(
        prompts, counting, tokenizer, groups, before=lambda: sent.append(len(counting.scripts))
    )
    assert sent == [0, 1, 2, 2, 2, 3, 4, 4], "a script is sent before the next one is written"
    assert len(counting.scripts) == 4, "equal scripts of a task run once, of two tasks twice"

    assert [t.id for t in first.group.trajectories] == ["7.0.0.0", "7.0.0.1", "7.0.0.2", "7.0.0.3"]
    good_total, broken_total, again, nothing = first.rewards
    assert good_total == again > 0.9
    assert nothing == 0.0 < broken_total < 0.4
    assert first.passes == [True, False, True, False]
    statuses = [t.result and t.result.status for t in first.group.trajectories]
    assert statuses == [RunStatus.OK, RunStatus.ERROR, RunStatus.OK, None]
    assert second.rewards[0] == second.rewards[2] < second.rewards[1]
    assert first.teaches
    assert second.teaches
    assert first.prompt.tokens == prompts[0].tokens


def test_equal_rewards_teach_nothing(farm, tokenizer):
    prompt = first_prompt(make_task(), tokenizer)
    (rollout,) = rolled_out([prompt], farm, tokenizer, [[script_reply(GOOD)] * 3])
    assert not rollout.teaches
    assert rollout.group.advantages() == (0.0, 0.0, 0.0)


def test_failures_and_successes_are_told_apart_and_can_be_repaired(farm, tokenizer):
    prompt = first_prompt(make_task(), tokenizer)
    groups = [[script_reply(GOOD), script_reply(BROKEN), script_reply(SHORT), "no idea"]]
    rollouts = rolled_out([prompt], farm, tokenizer, groups)
    broken, short = find_failures(rollouts, version=6)
    (success,) = find_successes(rollouts, version=6)
    assert success.script.strip() == GOOD.strip()
    assert "mas 1 1.0" in broken.error
    assert (broken.depth, broken.version, broken.trajectory_id) == (0, 6, "7.0.0.1")
    assert short.error.startswith("the run is not what was asked for")

    repair = repair_prompt(broken, make_task(), tokenizer)
    text = tokenizer.decode(repair.tokens, skip_special_tokens=False)
    assert text.index(make_task().prompt) < text.index("mas 1 1.0") < text.index("ERROR: ")
    first, end = repair.error_span
    assert tokenizer.decode(repair.tokens[first:end]).strip() == error_line(broken.error)
    assert repair.depth == 1
    (repaired,) = rolled_out([repair], farm, tokenizer, [[script_reply(SHORT)] * 2])
    assert {t.parent for t in repaired.group.trajectories} == {"7.0.0.1"}
    assert {f.depth for f in find_failures([repaired], version=7)} == {1}


def test_a_killed_worker_gives_no_reward_and_is_never_a_failed_script(tokenizer):
    worker = EmbeddedWorker(WorkerConfig(num_slots=1))
    prompt = first_prompt(make_task(), tokenizer)
    groups = [[script_reply(GOOD), "no idea", "nothing"], [script_reply(ENDLESS), "no", "none"]]
    written = itertools.count(1)

    def kill_after_the_first_group():
        if next(written) == 4:
            os.kill(worker.pid, signal.SIGKILL)

    try:
        with Farm([worker.ready.address], patience_s=1.0) as farm:
            rollouts = rolled_out(
                [prompt] * 2, farm, tokenizer, groups, before=kill_after_the_first_group
            )
    finally:
        worker.close()
    for rollout in rollouts:
        lost, *others = rollout.group.trajectories
        assert lost.reward is None
        assert lost.result is None
        assert rollout.rewards == [0.0, 0.0], "the others are judged without it"
        assert lost not in rollout.group.scored
        assert len(others) == 2
    assert find_failures(rollouts, version=0) == []


def test_description_of_a_failure_prefers_what_lammps_said():
    reward = Reward(total=0.2, components={"format": 1.0, "physics": 0.5}, flags=())
    failed = RunResult(status=RunStatus.ERROR, error="ERROR: Lost atoms")
    ended = RunResult(status=RunStatus.OK)
    assert describe_failure(failed, reward) == "ERROR: Lost atoms"
    assert describe_failure(ended, reward) == "the run is not what was asked for: physics"
    flagged = replace(reward, flags=("frozen atoms",))
    assert describe_failure(ended, flagged).endswith("frozen atoms")


def test_prompt_of_a_failure_is_one_deeper_than_the_failure(tokenizer):
    failure = Failure(
        trajectory_id="x", task_id="nve-0", script=BROKEN, error="e", depth=1, version=0
    )
    assert first_prompt(make_task(), tokenizer).depth == 0
    assert repair_prompt(failure, make_task(), tokenizer).depth == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_prompts": 0},
        {"group_size": 1},
        {"temperature": 0.0},
        {"max_refills": -1},
    ],
)
def test_impossible_rollouts_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"rollout\."):
        RolloutConfig(**wrong)


def test_most_trajectories_of_a_step_include_refills():
    config = RolloutConfig(num_prompts=8, group_size=4, max_refills=3)
    assert config.max_trajectories == 4 * 8 * 4
