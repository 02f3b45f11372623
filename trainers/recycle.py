"""What MD-GRPO keeps of past rollouts: failures to repair, and verified successes to replay.

A failed script y of an older policy, with what LAMMPS said of it, makes a repair prompt
(x, y, error). The start state may be stale: the repairs are sampled from the policy of now, so
their gradient is unbiased whatever queue the prompts came from. y itself is never trained on.

    failures  -> RepairQueue  -> at most `max_repair_share` of the next step's prompts
    successes -> SuccessStore -> success replay (L_sr) on the *original* prompt

Against drift into repair and stale states, the queue has a budget, an age limit, a limit of tries,
a limit per task, and one entry per (task, normalised error, script). Its order of service is
learnability (the running standard deviation of the rewards of repairs of that kind of error)
times exp(-age / age_scale).

Everything here is plain data: `to_json` and `from_json` carry it through a checkpoint, after which
it continues bit for bit. Nothing here draws random numbers. A *version* is the number of policy
updates made before the rollout.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_SOURCE_PLACE = re.compile(r"\((?:\S*/)?\w+\.(?:cpp|h):\d+\)")
_FILE = re.compile(r"\S*[./]\S*")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_PRIOR_SPREAD = 0.25  # of the rewards of repairs of an error not met yet: worth a look
_MEMORY = 0.7  # share of a running mean that one observation leaves in place


@dataclass(frozen=True, kw_only=True)
class RecycleConfig:
    """Limits of the repair queue and of success replay. A limit of 0 means none.

    MDAgent2's recycling, for comparison, is `max_repair_share=1`, `max_age=0`, `max_tries=0`,
    `max_per_task=0`, `deduplicate=false` with a `replay_coef` of 0.
    """

    max_repair_share: float = 1 / 3  # rho at most; 0 switches repair off
    adapt_share: bool = True  # follow how often repair groups teach
    max_age: int = 4  # versions
    max_tries: int = 2
    max_depth: int = 2  # failures of this depth or more are not queued; a first attempt is 0
    max_per_task: int = 2
    deduplicate: bool = True
    age_scale: float = 4.0  # versions
    retire_above: float = 0.9  # tasks of such a pass rate need no repair
    replay_per_step: int = 8  # successes replayed in one update
    replay_below: float = 0.5  # ... of tasks of at most this pass rate


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A script that failed, waiting to be repaired."""

    trajectory_id: str
    task_id: str
    script: str
    error: str  # LAMMPS's message; empty where the run ended well but is not what was asked for
    depth: int  # repairs that led to this script
    version: int
    tries: int = 0

    @property
    def signature(self) -> str:
        """The kind of error, without what differs from script to script."""
        return error_signature(self.error)

    @property
    def key(self) -> str:
        """What two failures share if one of them is redundant."""
        digest = hashlib.sha256(self.script.strip().encode()).hexdigest()[:16]
        return f"{self.task_id}|{self.signature}|{digest}"


@dataclass(frozen=True, kw_only=True)
class Success:
    """A script that passed all its checks in a real run, first try or repaired."""

    task_id: str
    script: str
    version: int


def error_signature(error: str) -> str:
    """Return the first line of `error` without names in quotes, numbers, files and code places."""
    lines = error.strip().splitlines()
    line = lines[0] if lines else ""
    line = _SOURCE_PLACE.sub("", line)
    for pattern, placeholder in ((_QUOTED, "'*'"), (_FILE, "*"), (_NUMBER, "#")):
        line = pattern.sub(placeholder, line)
    return " ".join(line.lower().split())


@dataclass(kw_only=True)
class RepairQueue:
    """Failures that wait for repair, and how much their kinds of error teach."""

    config: RecycleConfig
    waiting: list[Failure] = field(default_factory=list)  # in order of arrival
    spent: dict[str, int] = field(default_factory=dict)  # key -> version of the last try
    spreads: dict[str, float] = field(default_factory=dict)  # signature -> running std of rewards
    teaching: dict[str, float] = field(default_factory=lambda: {"first": 0.5, "repair": 0.5})

    def add(self, failures: Iterable[Failure]) -> int:
        """Queue the failures that the limits admit and return how many those are.

        A task that is full gives up its oldest failure for a newer one.
        """
        before = {id(failure) for failure in self.waiting}
        for failure in failures:
            if self._admits(failure):
                self.waiting.append(failure)
                self._trim(failure.task_id)
        return sum(id(failure) not in before for failure in self.waiting)

    def draw(self, count: int, version: int) -> list[Failure]:
        """Take up to `count` failures of highest priority, of different tasks, for one try each."""
        chosen: dict[str, Failure] = {}
        for failure in sorted(self.waiting, key=lambda f: -self.priority(f, version)):
            if len(chosen) == count:
                break
            chosen.setdefault(failure.task_id, failure)
        for failure in chosen.values():
            place = self.waiting.index(failure)
            tried = replace(failure, tries=failure.tries + 1)
            if self.config.max_tries and tried.tries >= self.config.max_tries:
                del self.waiting[place]
                self.spent[failure.key] = version
            else:
                self.waiting[place] = tried
        return list(chosen.values())

    def priority(self, failure: Failure, version: int) -> float:
        """Return learnability times freshness."""
        age = version - failure.version
        spread = self.spreads.get(failure.signature, _PRIOR_SPREAD)
        return spread * math.exp(-age / self.config.age_scale)

    def expire(self, version: int, pass_rate: Callable[[str], float]) -> None:
        """Forget failures that are too old and those of tasks that the policy solves by now."""
        limit = self.config.max_age or math.inf
        self.waiting = [
            failure
            for failure in self.waiting
            if version - failure.version <= limit
            and pass_rate(failure.task_id) < self.config.retire_above
        ]
        self.spent = {key: last for key, last in self.spent.items() if version - last <= limit}

    def record(self, failure: Failure, rewards: list[float]) -> None:
        """Learn from the rewards of one group of repairs of `failure`."""
        if len(rewards) < 2:
            return
        mean = math.fsum(rewards) / len(rewards)
        spread = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / len(rewards))
        known = self.spreads.get(failure.signature, _PRIOR_SPREAD)
        self.spreads[failure.signature] = _MEMORY * known + (1 - _MEMORY) * spread

    def record_teaching(self, kind: str, share: float) -> None:
        """Learn which share of the groups of `kind` ("first" or "repair") had unequal rewards."""
        self.teaching[kind] = _MEMORY * self.teaching[kind] + (1 - _MEMORY) * share

    def budget(self, num_prompts: int) -> int:
        """Return how many of `num_prompts` may be repair prompts now.

        rho = max_repair_share * min(1, teaching of repairs / teaching of first attempts), and one
        prompt at least where the maximum allows one, so that repair is never forgotten.
        """
        most = int(self.config.max_repair_share * num_prompts + 1e-9)
        if not self.config.adapt_share or most == 0:
            return most
        ratio = self.teaching["repair"] / max(self.teaching["first"], 1e-6)
        return max(1, min(most, int(most * ratio + 0.5)))

    def stats(self, version: int) -> dict[str, Any]:
        """Return size, ages and the commonest error signatures."""
        ages = [version - failure.version for failure in self.waiting]
        signatures = Counter(failure.signature for failure in self.waiting)
        return {
            "queue/size": len(ages),
            "queue/age_mean": sum(ages) / len(ages) if ages else 0.0,
            "queue/age_max": max(ages, default=0),
            "queue/signatures": dict(sorted(signatures.items(), key=lambda s: (-s[1], s[0]))[:5]),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain JSON values."""
        return {
            "waiting": msgspec.to_builtins(self.waiting),
            "spent": dict(self.spent),
            "spreads": dict(self.spreads),
            "teaching": dict(self.teaching),
        }

    @classmethod
    def from_json(cls, config: RecycleConfig, state: Mapping[str, Any]) -> "RepairQueue":
        """Rebuild the queue that `to_json` described."""
        return cls(
            config=config,
            waiting=msgspec.convert(state["waiting"], list[Failure]),
            spent=dict(state["spent"]),
            spreads=dict(state["spreads"]),
            teaching=dict(state["teaching"]),
        )

    def _admits(self, failure: Failure) -> bool:
        if self.config.max_repair_share == 0 or failure.depth >= self.config.max_depth:
            return False
        if not self.config.deduplicate:
            return True
        known = {waiting.key for waiting in self.waiting if waiting.task_id == failure.task_id}
        return failure.key not in known and failure.key not in self.spent

    def _trim(self, task_id: str) -> None:
        limit = self.config.max_per_task
        mine = [failure for failure in self.waiting if failure.task_id == task_id]
        if limit and len(mine) > limit:
            # Newest first; within one version the earlier arrival stays (sorted is stable).
            kept = {id(f) for f in sorted(mine, key=lambda f: -f.version)[:limit]}
            self.waiting = [f for f in self.waiting if f.task_id != task_id or id(f) in kept]


@dataclass(kw_only=True)
class SuccessStore:
    """Verified scripts, newest first to come out; a bounded number for each task."""

    per_task: int = 2
    kept: list[Success] = field(default_factory=list)  # in order of arrival

    def add(self, successes: Iterable[Success]) -> None:
        """Store successes; the same script for the same task is only made newer."""
        for success in successes:
            same_task = [s for s in self.kept if s.task_id == success.task_id]
            same = [s for s in same_task if s.script == success.script]
            for old in same or same_task[: max(0, len(same_task) - self.per_task + 1)]:
                self.kept.remove(old)
            self.kept.append(success)

    def draw(self, count: int, pass_rate: Callable[[str], float], below: float) -> list[Success]:
        """Return the newest `count` successes of tasks whose pass rate is at most `below`."""
        hard = [success for success in reversed(self.kept) if pass_rate(success.task_id) <= below]
        return sorted(hard, key=lambda success: -success.version)[:count]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the state as plain JSON values."""
        return msgspec.to_builtins(self.kept)

    @classmethod
    def from_json(cls, state: list[dict[str, Any]]) -> "SuccessStore":
        """Rebuild the store that `to_json` described."""
        return cls(kept=msgspec.convert(state, list[Success]))
