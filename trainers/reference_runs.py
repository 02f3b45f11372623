"""Run reference scripts on the farm, and remember every result at once.

A `Job` is one script with the tasks that it should solve: the phrasings of one simulation share
their run, and each is scored by itself (`mdx.rewards.score` on the same evidence). Outcomes are
appended to a JSONL journal as they come, so a build that is killed runs only what is missing. The
journal is keyed by content: a changed family, text or check is run again by itself, and after a
change of the limits, or of MDX's code for runs and rewards, everything is.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

import trainers.reference_facts as reference_facts_module
from mdx.code_digest import code_digest
from mdx.journal import Journal
from mdx.lammps.run import RunLimits, RunRequest, RunResult, RunStatus, to_json
from mdx.rewards import describe_failure, passed, score
from mdx.tasks.task import Task
from rollout_farm.client import Farm
from trainers.reference_facts import ReferenceFacts, reference_facts

_IN_FLIGHT_BEYOND_SLOTS = 4


@dataclass(frozen=True, kw_only=True)
class Job:
    """A script and the tasks to score its run for, which share files and potential."""

    script: str
    tasks: tuple[Task, ...]
    is_reference: bool = True  # False: a broken script that is to be repaired

    @property
    def key(self) -> str:
        """A hash of everything that the outcome depends on."""
        return hashlib.sha256(self.script.encode() + to_json(self.tasks)).hexdigest()

    def request(self, limits: RunLimits) -> RunRequest:
        """Return what the farm is asked: with the files that the checks look at."""
        task = self.tasks[0]
        wanted = {check.file for each in self.tasks for check in each.checks if check.file}
        return RunRequest(
            script=self.script,
            files=task.files,
            limits=limits,
            task=task,
            want_outputs=tuple(sorted(wanted)),
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job: R for each of its tasks, in order, and what the run showed."""

    key: str
    rewards: tuple[float, ...]
    status: RunStatus
    error: str
    evidence: str  # JSON: runs, steps, final state; components and flags of the first reward
    facts: ReferenceFacts
    lammps_version: str
    wall_time_s: float
    cpu_time_s: float
    is_reference: bool = True
    setting: str = ""  # see `setting_of`


class RunJournal(Journal[Outcome]):
    """The outcomes on disk. Only those of the same `setting` count; others stay in the file."""

    def __init__(self, path: Path, setting: str):
        self.outcomes: dict[str, Outcome] = {}
        self._setting = setting
        super().__init__(path, Outcome, self._take)

    def _take(self, _: int, outcome: Outcome) -> None:
        if outcome.setting == self._setting:
            self.outcomes[outcome.key] = outcome


def setting_of(limits: RunLimits) -> str:
    """Return the hash of what outcomes depend on beside their jobs.

    That is the limits, MDX's code for runs and rewards, and the LAMMPS that is installed here.
    """
    digest = hashlib.sha256(to_json(limits) + code_digest().encode())
    digest.update(Path(reference_facts_module.__file__).read_bytes())
    digest.update(installed_lammps().encode())
    return digest.hexdigest()


def installed_lammps() -> str:
    """Return the version of the LAMMPS package here; empty where scripts run elsewhere only."""
    try:
        return importlib.metadata.version("lammps")
    except importlib.metadata.PackageNotFoundError:
        return ""


def run_jobs(jobs: Iterable[Job], farm: Farm, limits: RunLimits) -> Iterator[Outcome]:
    """Yield outcomes as they come, with a few more requests under way than there are slots.

    Raises FarmError where infrastructure fails: no script is to blame for that.
    """
    setting = setting_of(limits)
    waiting = iter(jobs)
    running: dict[Future[RunResult], Job] = {}
    while True:
        while len(running) < farm.num_slots + _IN_FLIGHT_BEYOND_SLOTS:
            job = next(waiting, None)
            if job is None:
                break
            running[farm.submit(job.request(limits))] = job
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job = running.pop(future)
            yield _outcome(job, future.result(), setting)


def _outcome(job: Job, result: RunResult, setting: str) -> Outcome:
    rewards = [score(task, job.script, result) for task in job.tasks]
    evidence = {
        "num_runs": len(result.evidence.runs),
        "num_steps": sum(run.last_step - run.first_step for run in result.evidence.runs),
        "final": result.evidence.final,
        "components": rewards[0].components,
        "flags": rewards[0].flags,
    }
    return Outcome(
        key=job.key,
        setting=setting,
        rewards=tuple(reward.total for reward in rewards),
        status=result.status,
        error=result.error or ("" if passed(rewards[0]) else describe_failure(result, rewards[0])),
        evidence=to_json(evidence).decode(),
        facts=reference_facts(job.tasks[0], job.script, result),
        lammps_version=result.lammps_version,
        wall_time_s=result.timings.wall_s,
        cpu_time_s=result.timings.cpu_s,
        is_reference=job.is_reference,
    )
