"""Several real processes over `jax.distributed` are one run: same losses, one writer, one end.

All of them run on this machine's CPU and meet on loopback. One run is interrupted in every way:
SIGTERM to one process, SIGKILL to either, then finished by four processes on another mesh.
"""

import json
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from mdx.model.hf import load_hf
from trainers.export import export_run
from trainers.hooks import TIMING_FIELDS, read_metrics

from .several import finish, free_port, has_lines, launch, start, start_under_slurm

NUM_STEPS = 30
SHARED = (
    "data.batch_size=8",
    "data.seq_len=128",
    "data.microbatch_size=4",
    "compute.attention=blocked",
    "init_from=",
    f"optim.num_steps={NUM_STEPS}",
    "optim.warmup_steps=3",
    "optim.peak_lr=1e-2",
    "checkpoint.save_every=6",
)
STOPPED, FAILED = 75, 1

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def command(tiny_stage):
    """Return (run_dir, overrides) -> (arguments of `mdx-train cpt`, the cache of compilations)."""
    stage = tiny_stage("cpt", *SHARED)

    def make(run_dir, *overrides):
        return ["cpt", *stage.overrides, f"run_dir={run_dir}", *overrides], stage.cache_dir

    return make


@pytest.fixture(scope="module")
def alone(tiny_stage, tmp_path_factory):
    """Return the directory of a run in one process on one device."""
    run_dir = tmp_path_factory.mktemp("alone")
    code, text = tiny_stage("cpt", *SHARED).finish(run_dir)
    assert code == 0, text
    return run_dir


@pytest.fixture(scope="module")
def pair(command, tmp_path_factory):
    """Return the directory of a run in two processes of two devices, and how they ended."""
    run_dir = tmp_path_factory.mktemp("pair")
    arguments = command(run_dir, "mesh.fsdp=2", "mesh.tensor=2")
    return run_dir, finish(start(*arguments[:1], 2, arguments[1]))


def untimed(run_dir: Path) -> list[dict[str, float | None]]:
    lines = read_metrics(str(run_dir))
    return [{k: v for k, v in line.items() if k not in TIMING_FIELDS} for line in lines]


def assert_close(run_dir: Path, other: Path) -> None:
    lines, others = untimed(run_dir), untimed(other)
    assert len(lines) == len(others)
    for line, expected in zip(lines, others, strict=True):
        assert line == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_two_processes_give_the_losses_of_one_and_the_first_alone_speaks(pair, alone):
    run_dir, ends = pair
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert ends[0][1] == f"complete: the model is in {run_dir}/export\n"
    assert ends[1][1:] == ("", "")
    assert_close(run_dir, alone)


def test_four_tasks_of_a_slurm_step_fine_tune_as_one(tiny_stage, tmp_path):
    short = ("data.batch_size=8", "data.seq_len=128", "optim.num_steps=3", "optim.warmup_steps=1")
    stage = tiny_stage("sft", *short, "compute.attention=blocked", "init_from=")
    alone, four = tmp_path / "alone", tmp_path / "four"
    code, text = stage.finish(alone)
    assert code == 0, text
    arguments = ["sft", *stage.overrides, f"run_dir={four}", "mesh.fsdp=2", "mesh.tensor=2"]
    ends = finish(start_under_slurm(arguments, 4, stage.cache_dir))
    assert [code for code, _, _ in ends] == [0] * 4, ends
    assert ends[1][1:] == ("", "")
    assert_close(four, alone)


def test_export_of_a_sharded_run_is_made_by_one_process(pair, tmp_path):
    run_dir, _ = pair
    assert export_run(str(run_dir), str(tmp_path / "out")) == NUM_STEPS
    exports = [load_hf(str(path))[2] for path in (run_dir / "export", tmp_path / "out")]
    jax.tree.map(np.testing.assert_array_equal, *exports)


def test_stopped_killed_and_finished_by_four_it_is_the_run_of_one(command, pair, alone, tmp_path):
    arguments, cache = command(tmp_path, "mesh.fsdp=2", "mesh.tensor=2")
    processes = start(arguments, 2, cache)
    _wait_for_lines(tmp_path, 3, processes)
    processes[1].send_signal(signal.SIGTERM)
    ends = finish(processes)
    assert [code for code, _, _ in ends] == [STOPPED, STOPPED], ends
    stopped = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert untimed(tmp_path)[-1]["step"] == stopped < NUM_STEPS
    for _, out, err in ends:
        assert out == ""
        assert f"stopped: saved after step {stopped}" in err.splitlines()[-1]

    for victim in (1, 0):
        processes = start([*arguments, "--peer-timeout-s", "10"], 2, cache)
        _wait_for_lines(tmp_path, len(untimed(tmp_path)) + 2, processes)
        processes[victim].kill()
        killed = time.monotonic()
        code, out, err = finish(processes)[1 - victim]
        assert (code, out) == (FAILED, ""), err
        assert time.monotonic() - killed < 60
        lines = [line for line in err.splitlines() if not line.startswith("cpt ")]
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
        assert "the same command" in lines[0]
        assert untimed(tmp_path) == untimed(pair[0])[: len(untimed(tmp_path))], "bit for bit"

    arguments, cache = command(tmp_path, "mesh.data=2", "mesh.fsdp=-1")
    ends = finish(start(arguments, 4, cache, devices=1))
    assert [code for code, _, _ in ends] == [0] * 4, ends
    assert_close(tmp_path, alone)


def _wait_for_lines(run_dir, number, processes):
    while all(process.poll() is None for process in processes):
        if has_lines(run_dir, number):
            return
        time.sleep(0.002)
    raise AssertionError(finish(processes))


def test_a_process_that_is_left_alone_ends_with_one_line(command, tmp_path):
    arguments, cache = command(tmp_path)
    [(code, out, err)] = finish(start([*arguments, "--connect-timeout-s", "2"], 2, cache, ids=[1]))
    assert (code, out) == (FAILED, "")
    assert err.startswith("error: not all processes met at 127.0.0.1:")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("metadata", "code", "line"),
    [
        ({"MEGASCALE_COORDINATOR_ADDRESS": "localhost"}, 1, "error: not all processes met within"),
        ({"GCE_METADATA_IP": "127.0.0.1:9"}, 2, "error: a TPU pod or Slurm started this process"),
    ],
    ids=["they are named", "nobody says where they are"],
)
def test_hosts_of_a_tpu_pod_look_for_each_other_unasked(command, tmp_path, metadata, code, line):
    """Without TPUs they get no further: this one waits for a first host that never comes."""
    arguments, cache = command(tmp_path)
    pod = {
        "JAX_PLATFORMS": "tpu",
        "JAX_FORCE_TPU_INIT": "1",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost,localhost",
        "TPU_WORKER_ID": "1",
        "MEGASCALE_NUM_SLICES": "1",
        "MEGASCALE_SLICE_ID": "0",
        "MDX_CACHE_DIR": cache,
        **metadata,
    }
    [(found, out, err)] = finish([launch([*arguments, "--connect-timeout-s", "2"], pod)])
    assert (found, out) == (code, ""), err
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_processes_that_disagree_on_their_number_end_with_one_line(command, tmp_path):
    arguments, cache = command(tmp_path)
    port = free_port()
    options = [*arguments, "--connect-timeout-s", "5"]
    first = start(options, 2, cache, ids=[0], port=port)
    ends = finish([*first, *start(options, 3, cache, ids=[1], port=port)])
    assert {code for code, _, _ in ends} <= {1, 2}
    assert all(err.count("\n") == 1 for _, _, err in ends), ends
    assert any("process 0 has 2 and process 1 has 3" in err for _, _, err in ends)


def test_a_mistake_is_told_by_all_and_nobody_waits(command, tmp_path):
    """The second process finds no data: the first ends too, and says why."""
    arguments, cache = command(tmp_path)
    port = free_port()
    first = start(arguments, 2, cache, ids=[0], port=port)
    second = start([*arguments, "data.data_dir=no/such/data"], 2, cache, ids=[1], port=port)
    ends = finish([*first, *second])
    assert [code for code, _, _ in ends] == [1, 2], ends
    assert ends[0][2].startswith("error: process 1 ended: ")
    assert "no/such/data" in ends[0][2]
    assert json.dumps(ends[0][2]).count("\\n") == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--coordinator", "host:1"], "belong together"),
        (["--coordinator", "host", "--num-processes", "2", "--process-id", "0"], "HOST:PORT"),
        (["--coordinator", "h:1", "--num-processes", "2", "--process-id", "2"], "must be 0 to 1"),
    ],
)
def test_options_that_cannot_be_are_usage_errors(capfd, options, line):
    from trainers.cli import main

    with pytest.raises(SystemExit) as caught:
        main(["cpt", *options])
    assert caught.value.code == 2
    assert line in capfd.readouterr().err
