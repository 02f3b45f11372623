"""Results that are kept: in memory and on disk, bounded, whole, and never of a machine's mood."""

import asyncio
import os
from pathlib import Path

import pytest

from mdx.errors import UsageError
from mdx.lammps.run import RunRequest, RunResult, RunStatus, from_json
from rollout_farm.cache import ResultCache, machine_digest, request_key
from rollout_farm.client import Farm
from rollout_farm.config import CacheConfig
from rollout_farm.disk_cache import DiskCache


def test_cache_keeps_ok_and_error_but_no_end_that_depends_on_the_machine():
    calls = []

    async def run(request: RunRequest, _: object) -> RunResult:
        calls.append(request.script)
        return RunResult(status=RunStatus(request.script))

    async def ask_twice() -> None:
        cache = ResultCache(run, CacheConfig(memory_bytes=1 << 16), "")
        for status in RunStatus:
            for _ in range(2):
                encoded, _ = await cache.get(RunRequest(script=status))
                assert from_json(encoded, RunResult).status is status

    asyncio.run(ask_twice())
    assert {script for script in calls if calls.count(script) == 1} == {"ok", "error"}


def test_cache_is_bounded_and_forgets_the_oldest():
    calls = []

    async def run(request: RunRequest, _: object) -> RunResult:
        calls.append(request.script)
        return RunResult(status=RunStatus.OK, log="x" * 1000)

    async def fill() -> None:
        cache = ResultCache(run, CacheConfig(memory_bytes=5000), "")
        for script in ("a", "b", "c", "d", "e", "e", "a"):
            await cache.get(RunRequest(script=script))

    asyncio.run(fill())
    assert calls == ["a", "b", "c", "d", "e", "a"]


def test_run_whose_callers_all_went_away_is_cancelled_and_one_that_is_wanted_is_not():
    ended = []

    async def run(request: RunRequest, _: object) -> RunResult:
        try:
            await asyncio.sleep(0.2)
        finally:
            ended.append(request.script)
        return RunResult(status=RunStatus.OK)

    async def leave() -> None:
        cache = ResultCache(run, CacheConfig(memory_bytes=0), "")
        first, second = (asyncio.create_task(cache.get(RunRequest(script="x"))) for _ in range(2))
        alone = asyncio.create_task(cache.get(RunRequest(script="y")))
        await asyncio.sleep(0.05)
        first.cancel()
        alone.cancel()
        await asyncio.sleep(0.05)
        assert ended == ["y"]
        encoded, joined = await second
        assert joined
        assert from_json(encoded, RunResult).status is RunStatus.OK

    asyncio.run(leave())


def test_key_covers_everything_that_a_result_depends_on():
    base = RunRequest(script="a", files={"x": b"1"})
    others = [
        RunRequest(script="b", files={"x": b"1"}),
        RunRequest(script="a", files={"x": b"2"}),
        RunRequest(script="a", files={"y": b"1"}),
        RunRequest(script="a", files={"x": b"1"}, want_outputs=("*",)),
        RunRequest(script="a", files={"x": b"1"}, image_pixels=100),
        RunRequest(script="a", files={"x": b"1"}, want_evidence=False),
    ]
    keys = {request_key(request) for request in (base, *others)}
    assert len(keys) == 7
    assert request_key(base, "one machine") != request_key(base, "another")
    assert request_key(base) == request_key(RunRequest(script="a", files={"x": b"1"}))


def test_machine_is_known_by_its_processor_and_its_lammps():
    assert machine_digest("20250722") == machine_digest("20250722")
    assert machine_digest("20250722") != machine_digest("20250723")


def test_a_worker_that_starts_again_answers_from_disk(tmp_path: Path, serve):
    request = RunRequest(script="units lj\nprint once\n")
    results = []
    for _ in range(2):
        with serve(f"cache.dir={tmp_path}") as worker, Farm([worker.address]) as farm:
            results.append(farm.run(request))
            status = farm.fleet.workers[0].status(1.0)
    assert results[0] == results[1]
    assert (status.num_runs, status.num_cache_hits) == (0, 1)


def test_torn_and_damaged_files_are_misses(tmp_path: Path):
    cache = DiskCache(str(tmp_path), 1 << 20)
    key = request_key(RunRequest(script="x"))
    cache.put(key, b"a result")
    [file] = tmp_path.glob("??/*")
    assert cache.get(key) == b"a result"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"?", b""):
        file.write_bytes(damaged)
        assert cache.get(key) is None
    assert cache.get(request_key(RunRequest(script="y"))) is None


def test_disk_cache_forgets_what_was_not_asked_for_longest(tmp_path: Path):
    cache = DiskCache(str(tmp_path), 10_000)
    keys = [request_key(RunRequest(script=str(number))) for number in range(12)]
    for age, key in enumerate(keys):
        cache.put(key, bytes(1000))
        for path in tmp_path.glob(f"??/{key}"):
            os.utime(path, (1000 + age, 1000 + age))
        assert cache.get(keys[0]) is not None  # asked for all the time
    kept = [key for key in keys if cache.get(key) is not None]
    assert kept[0] == keys[0]
    assert keys[1] not in kept
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 10_000


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cache\.dir"):
        DiskCache(str(tmp_path / "file"), 1000)
