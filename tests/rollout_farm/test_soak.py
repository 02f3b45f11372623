"""5,000 jobs of all kinds on two workers whose zygotes are recycled, checked and killed meanwhile.

Every result is compared with what that very job must come to; afterwards both workers are as they
were after the first 1,000.
"""

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from random import Random

import pytest

from mdx.lammps.run import Reward, RunLimits, RunRequest, RunResult, RunStatus
from mdx.rewards import score
from mdx.tasks.task import Check, CheckKind, Potential, Task
from rollout_farm.client import Farm

from .processes import (
    LonelyWorker,
    children,
    descendants,
    open_descriptors,
    resident_bytes,
    until,
    worker,
)

SEED = 20250722
NUM_JOBS, NUM_WARM = 5000, 1000
NUM_KILLS = 6
ONE_IN_TIMEOUT = 250
SETTINGS = ("num_slots=2", "recycle_every=700", "canary_every=200", "cache.memory_bytes=1000000")
LIMITS = RunLimits(wall_time_s=20.0, cpu_time_s=20.0, memory_bytes=256 << 20)
BOX = """lattice fcc {lattice}
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
"""
LIQUID = (
    f"units lj\n{BOX.format(lattice=0.8442, cells=3)}mass 1 1.0\n"
    "velocity all create 1.44 {seed}\npair_style lj/cut 2.5\npair_coeff 1 1 1.0 1.0\n"
    "fix 1 all nve\nthermo 10\n"
)
COPPER = (
    f"units metal\n{BOX.format(lattice=3.615, cells=2)}pair_style eam/alloy\n"
    "pair_coeff * * Cu_mishin1.eam.alloy Cu\nvelocity all create 300 {seed}\n"
    "timestep 0.002\nfix 1 all nve\nrun 10\n"
)
SCRIPTS = {
    "trivial": "units lj\n",
    "lj": LIQUID + "run 20\n",
    "eam": COPPER,
    "task": LIQUID + "dump 1 all custom 10 d.txt id type x y z\nrun 40\n",
    "failing": "units lj\npair_stile lj/cut {seed}\n",
    "quit": "units lj\nquit\n",
    "crash": LIQUID + "thermo_modify format float %n\nrun 10\n",
    "hog": "units lj\n" + BOX.format(lattice=1.0, cells=100),
    "flood": LIQUID + "dump 1 all custom 1 d.txt id type x y z\nrun 500\n",
    "endless": LIQUID + "thermo 10000\nrun 100000000\n",
    "shell": "variable c string shell\n${{c}} touch x\n",
}
WEIGHTS = {
    "trivial": 40,
    "lj": 18,
    "eam": 6,
    "task": 8,
    "failing": 12,
    "quit": 4,
    "crash": 2,
    "hog": 2,
    "flood": 3,
    "shell": 3,
}
STATUSES = {
    "failing": RunStatus.ERROR,
    "quit": RunStatus.CRASHED,
    "crash": RunStatus.CRASHED,
    "hog": RunStatus.OUT_OF_MEMORY,
    "flood": RunStatus.OUTPUT_LIMIT,
    "endless": RunStatus.TIMEOUT,
    "shell": RunStatus.SCREENED,
}
SPECIAL_LIMITS = {
    "hog": replace(LIMITS, memory_bytes=64 << 20),
    "flood": replace(LIMITS, output_bytes=256 << 10),
}
SEEDS = (1, 22, 333, 4444)
MARKER = re.compile(r"this is job (\d+)")


@dataclass(frozen=True)
class Job:
    """One request and what is known of its result beforehand."""

    kind: str
    seed: int
    number: int  # of the first job with this request
    request: RunRequest


@dataclass(frozen=True)
class Known:
    """What a kind of script with a seed comes to, found out before."""

    result: RunResult
    reward: Reward | None


@dataclass(frozen=True)
class Measured:
    """What the kernel says of an idle worker."""

    descriptors: list[str]
    tree: list[int]  # number of descendants of each child
    worker_bytes: int
    all_bytes: int
    temporary: int  # entries in its folder
    shared: list[str]


@pytest.mark.timeout(420)
def test_5000_jobs_end_right_and_leave_nothing_behind(tmp_path):
    known = _find_out()
    jobs = list(_draw())
    with (
        worker(tmp_path, *SETTINGS) as first,
        worker(tmp_path, *SETTINGS) as second,
        Farm([first.address, second.address]) as farm,
    ):
        workers = (first, second)
        _run_all(farm, jobs[:NUM_WARM], known, {})
        before = [_measure(one) for one in workers]
        _run_all(farm, jobs[NUM_WARM:], known, _kills(workers))
        after = [_measure(one) for one in workers]
        lost = sum(one.status().num_slots_lost for one in workers)
        for then, now, one in zip(before, after, workers, strict=True):
            print(then, now, sep="\n")
            assert now.descriptors == then.descriptors
            assert (now.tree, now.temporary) == (then.tree, then.temporary) == ([1, 1], 0)
            assert now.shared == then.shared == []
            assert now.worker_bytes < 1.05 * then.worker_bytes
            assert now.all_bytes < 1.05 * then.all_bytes
            assert one.status().num_runs > NUM_JOBS / 3
            assert one.errors.read_text() == ""
        print(f"{lost} slots lost")
        assert 1 <= lost <= NUM_KILLS


def _draw() -> Iterator[Job]:
    """Yield the jobs; about one in ten is an earlier one again."""
    rng = Random(SEED)
    drawn: list[Job] = []
    for number in range(NUM_JOBS):
        if drawn and rng.random() < 0.1:
            yield rng.choice(drawn)
            continue
        [kind] = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if number % ONE_IN_TIMEOUT == ONE_IN_TIMEOUT // 2:
            kind = "endless"
        seed = rng.choice(SEEDS)
        drawn.append(Job(kind, seed, number, _request(kind, seed, number, rng)))
        yield drawn[-1]


def _request(kind: str, seed: int, number: int, rng: Random) -> RunRequest:
    limits = SPECIAL_LIMITS.get(kind, LIMITS)
    if kind == "endless":
        limits = replace(limits, wall_time_s=rng.uniform(0.3, 1.0))
    script = f"print 'this is job {number}'\n" + SCRIPTS[kind].format(seed=seed)
    return RunRequest(script=script, limits=limits, task=_task(seed) if kind == "task" else None)


def _task(seed: int) -> Task:
    """Return a task that a script with one seed solves, and others do not quite."""
    return Task(
        id="t",
        family="test",
        prompt="",
        checks=(
            Check(kind=CheckKind.NUM_ATOMS, target=108 if seed % 2 else 256, tolerance=0.0),
            Check(kind=CheckKind.NUM_STEPS, target=40 if seed < 300 else 80),
            Check(kind=CheckKind.DUMP, file="d.txt", target=4),
            Check(kind=CheckKind.FINITE),
        ),
        potential=Potential(style="lj/cut 2.5", coeffs=("1 1 1.0 1.0",)),
        num_steps=40,
    )


def _find_out() -> dict[tuple[str, int], Known]:
    """Run the good scripts once, alone, and score them here."""
    known = {}
    with Farm(num_slots=1) as farm:
        for kind in ("trivial", "lj", "eam", "task"):
            for seed in SEEDS:
                request = _request(kind, seed, 0, Random(0))
                result = farm.run(replace(request, want_outputs=("*",)))
                assert result.status is RunStatus.OK
                reward = score(_task(seed), request.script, result) if kind == "task" else None
                known[kind, seed] = Known(result, reward)
    rewards = [known["task", seed].reward for seed in SEEDS]
    assert len({reward.total for reward in rewards if reward}) >= 3
    rows = {one.result.thermo for (kind, _), one in known.items() if kind in ("lj", "eam")}
    assert len(rows) == 2 * len(SEEDS)
    return known


def _run_all(
    farm: Farm,
    jobs: list[Job],
    known: dict[tuple[str, int], Known],
    events: dict[int, Callable[[], None]],
) -> None:
    """Run jobs, with `events` after so many of them, and look at every result."""
    ends: Counter[int] = Counter()
    lock = threading.Lock()

    def note(place: int) -> Callable[[Future], None]:
        def end(_: Future) -> None:
            with lock:
                ends[place] += 1
                event = events.pop(ends.total(), None)
            if event:
                event()

        return end

    futures = []
    for place, job in enumerate(jobs):
        futures.append(farm.submit(job.request))
        futures[-1].add_done_callback(note(place))
    for job, future in zip(jobs, futures, strict=True):
        _check(job, future.result(300), known)
    until(lambda: ends.total() == len(jobs))
    assert ends == Counter(range(len(jobs)))
    assert not events


def _check(job: Job, result: RunResult, known: dict[tuple[str, int], Known]) -> None:
    what = f"seed {SEED}, job {job.number}, {job.kind}: {str(result)[:2000]}"
    assert result.status is STATUSES.get(job.kind, RunStatus.OK), what
    assert set(MARKER.findall(result.log)) == {str(job.number)}, what
    if job.kind == "failing":
        assert result.failed_command == f"pair_stile lj/cut {job.seed}", what
    if (expected := known.get((job.kind, job.seed))) is not None:
        assert result.thermo == expected.result.thermo, what
        assert result.evidence == expected.result.evidence, what
        assert result.reward == expected.reward, what


def _kills(workers: tuple[LonelyWorker, ...]) -> dict[int, Callable[[], None]]:
    """Return when to kill which zygotes, outside and inside their namespaces in turn."""
    rng = Random(SEED)
    times = sorted(rng.sample(range(100, NUM_JOBS - NUM_WARM - 300), NUM_KILLS))

    def kill(index: int) -> None:
        guards = children(workers[index % len(workers)].pid)
        if guards:
            guard = rng.choice(guards)
            os.kill([guard, *children(guard)][-1 if index % 4 < 2 else 0], signal.SIGKILL)

    return {time: lambda index=index: kill(index) for index, time in enumerate(times)}


def _measure(one: LonelyWorker) -> Measured:
    """Look at a worker when it is idle and its slots are whole."""

    def is_whole() -> bool:
        status = one.status()
        if status.num_busy or status.num_waiting:
            return False
        if any("memfd" in name for name in open_descriptors(one.pid)):
            return False  # a canary runs, which no status counts; a leak would stay
        return [len(descendants(child)) for child in children(one.pid)] == [1, 1]

    until(is_whole, 60.0)
    zygotes = descendants(one.pid)
    return Measured(
        descriptors=open_descriptors(one.pid),
        tree=[len(descendants(child)) for child in children(one.pid)],
        worker_bytes=resident_bytes(one.pid),
        all_bytes=sum(map(resident_bytes, [one.pid, *zygotes])),
        temporary=len(os.listdir(one.folder)),
        shared=one.shared_memory(),
    )
