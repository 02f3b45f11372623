"""20,000 requests that nobody in his right mind would send: each is answered, none does harm.

A failure names the seed and the number of the request; `MDX_FUZZ_SEED` gives other requests.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import grpc
import grpc.aio
import pytest

from mdx.lammps.run import (
    ActiveFix,
    Evidence,
    FinalState,
    ProbedRun,
    RunRequest,
    RunResult,
    RunStatus,
    from_json,
    to_json,
)
from mdx.rewards import score
from mdx.tasks.generate import draw_examples
from rollout_farm import wire
from rollout_farm.client import Farm
from rollout_farm.messages import ChildRecord, Hello, Leftovers, Report
from rollout_farm.outcome import to_result
from rollout_farm.proto import farm_pb2
from rollout_farm.slot import Finished, SlotLostError

from . import mutations
from .processes import LonelyWorker, until, worker

pytestmark = pytest.mark.timeout(400)
SEED = int(os.environ.get("MDX_FUZZ_SEED", "20250722"))
NUM_RANDOM, NUM_SPOILT, NUM_SCRIPTS = 9000, 7000, 4000
NUM_RECORDS = 4000
NUM_TRIES = 4
GOOD = Path(__file__).parent / "good"
Code = grpc.StatusCode
LOGS = (
    b"",
    b"Step Temp\n 0 1.0\n 10 nan\nLoop time of 1 on 1\n",
    b"\xff\xfeERROR: x\nLast input line: run 10\n",
)
LONG_TEXTS = (
    *(b" ", b"\n", b"\t", b"\r", b"\x0c", b"\x85", b"\xff", b"\0", b"a", b'"', b"'", b'"""'),
    *(b"(", b"(src/", b" (src/:", b"ERROR ( ", b"ERROR\n", b"Last input line:"),
    *(b"Step ", b"1 ", b"1 2 \n", b"Step Temp\n", b"0 1\nStep Temp\n"),
    *(
        b"mdx_prob",
        b"mdx_probe ",
        b"mdx_probe before run ",
        b'"""mdx_probe ',
        b'"""mdxp0123456789ab',
    ),
)
REFUSALS = {Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.UNIMPLEMENTED}
_AT_ONCE = 32
_BATCH = 500
Call = tuple[str, bytes]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonelyWorker]:
    settings = ("num_slots=2", "cache.memory_bytes=1000000")
    with worker(tmp_path_factory.mktemp("fuzz"), *settings) as target:
        yield target


def test_random_bytes_are_refused(target):
    counts = _throw(target, NUM_RANDOM, mutations.random_call)
    assert counts[Code.INVALID_ARGUMENT] > NUM_RANDOM / 2
    assert counts[Code.UNIMPLEMENTED] > NUM_RANDOM / 20


def test_spoilt_messages_are_refused_or_run(target):
    bases = mutations.base_messages(Random(SEED))
    counts = _throw(target, NUM_SPOILT, lambda rng: mutations.spoilt_call(rng, bases))
    assert counts[Code.INVALID_ARGUMENT] > NUM_SPOILT / 10
    assert counts[Code.OK] > NUM_SPOILT / 10


def test_spoilt_scripts_end_in_a_result(target):
    seeds = mutations.seed_scripts(GOOD)
    assert len(seeds) >= 40
    limits = to_json(mutations.LIMITS)
    files = {"include.lmp": b"print 'included'\n"}

    def call(rng: Random) -> Call:
        script = mutations.spoilt_script(rng, seeds)
        message = mutations.Message(script=script, limits_json=limits, files=files)
        return wire.RUN_METHOD, message.SerializeToString()

    statuses: Counter[RunStatus] = Counter()
    counts = _throw(target, NUM_SCRIPTS, call, lambda result: statuses.update([result.status]))
    print(statuses)
    assert counts == {Code.OK: NUM_SCRIPTS}
    assert statuses[RunStatus.OK] > NUM_SCRIPTS / 10
    assert statuses[RunStatus.ERROR] > NUM_SCRIPTS / 4


def test_spoilt_records_are_results_and_can_be_scored():
    # the record is the work of a process that ran a stranger's script: nothing in it is certain
    bases = [to_json(record) for record in _records()]
    tasks = [example.task for example in draw_examples(split="train", num_scripts=20, seed=3)]
    statuses: Counter[RunStatus] = Counter()
    for number in range(NUM_RECORDS):
        rng = Random(f"{SEED}/records/{number}")
        record = rng.choice(bases)
        for _ in range(rng.choice((1, 1, 2))):
            record = mutations.wild_json(record, rng)
        if rng.random() < 0.3:
            record = mutations.spoilt_bytes(record, rng)
        finished = _finished(record=record, log=rng.choice(LOGS))
        where = f"seed {SEED}, record {number}: {record[:3000]!r}"
        try:
            result = to_result(RunRequest(script="run 10"), finished, queue_s=0.0, hello=Hello())
            statuses[result.status] += 1
            again = from_json(to_json(result), RunResult)
            assert again == result
            reward = score(rng.choice(tasks), mutations.LIQUID, result)
            assert 0.0 <= reward.total <= 1.0
        except SlotLostError:  # only what it says of a defect of ours
            assert b'"defect"' in record, where
        except Exception as error:
            raise AssertionError(f"{error!r} for {where}") from error
    assert statuses[RunStatus.CRASHED] > NUM_RECORDS / 20
    assert statuses[RunStatus.OK] > NUM_RECORDS / 20


@pytest.mark.parametrize("text", LONG_TEXTS, ids=lambda text: repr(text[:12]))
def test_work_on_a_log_grows_as_its_length(text):
    """In a worker nobody else is served meanwhile. CPU time, since wall time is the machine's.

    A neighbour on the same cores only ever adds to it, so the least of a few tries counts.
    """
    for start in (b"", b"Step Temp\n", b"ERROR: x\nLast input line: "):
        part = whole = float("inf")
        for _ in range(NUM_TRIES):
            part = min(part, _cpu_seconds_on(start, text, 1 << 16))
            whole = min(whole, _cpu_seconds_on(start, text, 1 << 20))
            if whole < 32 * part + 0.2:
                break
        assert whole < 32 * part + 0.2  # were it quadratic: 256


def _cpu_seconds_on(start: bytes, text: bytes, size: int) -> float:
    """Return what reading a log of `size` bytes after `start` costs."""
    log = (text * (1 + size // len(text)))[:size]
    record = to_json(ChildRecord(error=(start + log)[:100_000].decode(errors="replace")))
    began = time.thread_time()
    finished = _finished(record=record, log=start + log, report=Report(number=1))
    result = to_result(RunRequest(script="run 10\n"), finished, queue_s=0.0, hello=Hello())
    assert result.status is RunStatus.ERROR
    return time.thread_time() - began


def _finished(*, record: bytes, log: bytes, report: Report | None = None) -> Finished:
    """Return what a child left."""
    return Finished(report=report or Report(number=1), log=log, leftovers=Leftovers(record=record))


def _records() -> list[ChildRecord]:
    """Return honest records, of a good run and of others."""
    final = FinalState(
        units="lj",
        step=10,
        num_atoms=108,
        num_types=1,
        pair_style="lj/cut",
        fixes=("1",),
        box_lengths=(5.0, 5.0, 5.0),
        masses=(1.0,),
        type_counts=(108,),
        requested_potential_energy=-700.0,
        max_force=1.0,
        num_forceless=0,
        group_counts={"all": 108},
    )
    names = ("step", "temperature", "potential_energy", "kinetic_energy", "pressure", "volume")
    series = {
        name: tuple(float(value) for value in range(11)) for name in (*names, "lx", "ly", "lz")
    }
    run = ProbedRun(
        command="run",
        first_step=0,
        last_step=10,
        num_atoms_before=108,
        num_atoms_after=108,
        timestep=0.005,
        series=series,
        fixes=(ActiveFix(style="nve", group="all"),),
        pair_style="lj/cut",
        first_box_lengths=(5.0, 5.0, 5.0),
        num_forceless=0,
    )
    evidence = Evidence(runs=(run, replace(run, first_step=10, last_step=20)), final=final)
    return [
        *[ChildRecord(evidence=evidence)] * 6,
        ChildRecord(error="ERROR: Unknown command: x (src/input.cpp:1)", evidence=evidence),
        ChildRecord(timed_out=True, evidence=evidence),
        ChildRecord(out_of_memory=True),
        ChildRecord(defect="OSError: x"),
    ]


def _throw(
    target: LonelyWorker,
    count: int,
    make: Callable[[Random], Call],
    see: Callable[[RunResult], object] = lambda _: None,
) -> Counter[grpc.StatusCode]:
    """Send `count` calls, look at each end, and at the worker now and then and afterwards."""
    counts: Counter[grpc.StatusCode] = Counter()
    before = _good_answer(target)
    lost = target.status().num_slots_lost
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        calls = [make(Random(f"{SEED}/{make.__qualname__}/{number}")) for number in numbers]
        ends = asyncio.run(_send_all(target.address, calls))
        for number, (method, body), (code, answer) in zip(numbers, calls, ends, strict=True):
            counts[code] += 1
            where = f"seed {SEED}, request {number}: {method} {body[:2000]!r}"
            assert code in REFUSALS | {Code.OK}, f"{code} {answer!r} for {where}"
            if code is Code.OK and method in (wire.RUN_METHOD, wire.WATCH_METHOD):
                see(_decoded(answer, where))
        where = f"seed {SEED}, requests {numbers}"
        assert target.status().num_slots_lost == lost, f"a slot was lost by one of {where}"
        assert target.process.poll() is None, f"the worker ended after {where}"
        assert "Traceback" not in target.errors.read_text(), where
    print(dict(counts))
    until(lambda: target.status().num_busy == target.status().num_waiting == 0)
    assert _good_answer(target) == before
    return counts


def _decoded(answer: bytes, where: str) -> RunResult:
    try:
        result = from_json(farm_pb2.RunScriptReply.FromString(answer).result_json, RunResult)
    except Exception as error:
        raise AssertionError(f"{error!r} for {where}") from error
    assert result.status in set(RunStatus)
    return result


async def _send_all(address: str, calls: list[Call]) -> list[tuple[grpc.StatusCode, bytes]]:
    room = asyncio.Semaphore(_AT_ONCE)
    async with grpc.aio.insecure_channel(address, options=wire.CHANNEL_OPTIONS) as channel:

        async def send(method: str, body: bytes) -> tuple[grpc.StatusCode, bytes]:
            async with room:
                try:
                    if method == wire.WATCH_METHOD:
                        stream = channel.unary_stream(method)(body, timeout=60.0)
                        messages = [message async for message in stream]
                        last = farm_pb2.Progress.FromString(messages[-1])
                        return Code.OK, last.reply.SerializeToString()
                    return Code.OK, await channel.unary_unary(method)(body, timeout=60.0)
                except grpc.aio.AioRpcError as error:
                    return error.code(), (error.details() or "").encode()

        return await asyncio.gather(*(send(*call) for call in calls))


def _good_answer(target: LonelyWorker) -> tuple[object, ...]:
    """Return what a good script, not asked for before, comes to."""
    script = (GOOD / "lj_melt.in").read_text() + f"print {time.monotonic_ns()}\n"
    with Farm([target.address]) as farm:
        result = farm.run(RunRequest(script=script))
    assert result.status is RunStatus.OK
    return result.thermo, result.evidence
