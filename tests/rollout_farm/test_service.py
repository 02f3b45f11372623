"""What the service offers beside `Run`: live logs, priorities, canaries, metrics, reflection."""

import json
import re
import threading
import time
import urllib.request

import grpc
import pytest
from click.testing import CliRunner
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mdx.errors import FarmError, UsageError
from mdx.lammps.run import RunRequest, RunResult, RunStatus, from_json
from rollout_farm import canary
from rollout_farm.cli import main
from rollout_farm.client import Farm
from rollout_farm.slot import Slot

LIQUID = (
    "units lj\nlattice fcc 0.8442\nregion b block 0 4 0 4 0 4\ncreate_box 1 b\n"
    "create_atoms 1 box\nmass 1 1.0\nvelocity all create 1.0 1\npair_style lj/cut 2.5\n"
    "pair_coeff 1 1 1 1\nfix 1 all nve\nthermo {thermo}\nrun {steps}\n"
)


def test_watched_script_shows_its_thermo_while_it_runs_and_nothing_twice(farm):
    shown: list[tuple[float, str]] = []
    request = RunRequest(script=LIQUID.format(thermo=500, steps=15_000) + "print done\n")
    result = farm.watch(request, lambda lines: shown.append((time.monotonic(), lines)))
    ended = time.monotonic()
    assert result.status is RunStatus.OK
    text = "".join(lines for _, lines in shown)
    assert text == result.log
    early = "".join(lines for when, lines in shown if when < ended - 0.3)
    assert re.search(r"^ +500 ", early, re.MULTILINE)
    assert "mdx" not in text


def test_watching_a_script_that_was_run_before_shows_its_log(farm):
    request = RunRequest(script="units lj\nprint again\n")
    first = farm.run(request)
    shown: list[str] = []
    assert farm.watch(request, shown.append) == first
    assert "".join(shown) == first.log


def test_watcher_who_leaves_frees_the_slot():
    with Farm(num_slots=1) as farm:
        endless = RunRequest(script=LIQUID.format(thermo=100, steps=10**8))

        def leave(_: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            farm.watch(endless, leave)
        started = time.monotonic()
        assert farm.run(RunRequest(script="# next\n")).status is RunStatus.OK
        assert time.monotonic() - started < 5.0


def test_people_go_before_training():
    with Farm(num_slots=1) as farm:
        ended: list[str] = []
        lock = threading.Lock()

        def note(name: str):
            def end(_: object) -> None:
                with lock:
                    ended.append(name)

            return end

        script = LIQUID.format(thermo=100, steps=1500)
        requests = [("first", 0), ("low", 0), ("high", 1)]  # as many as one client's credits
        futures = []
        for name, priority in requests:
            futures.append(farm.submit(RunRequest(script=f"# {name}\n{script}", priority=priority)))
            futures[-1].add_done_callback(note(name))
        for future in futures:
            future.result(60)
        assert ended.index("high") < ended.index("low")


def test_canary_is_right_about_a_good_slot_and_a_wrong_one(monkeypatch):
    slot = Slot()
    try:
        canary.check(slot)
        monkeypatch.setattr(canary, "_CRYSTAL_ENERGY", -6.77)
        with pytest.raises(FarmError, match=r"got a known script wrong: -6\.773"):
            canary.check(slot)
    finally:
        slot.close()


def test_slots_prove_themselves_every_so_often(serve):
    with serve("canary_every=3") as worker, Farm([worker.address]) as farm:
        for number in range(10):
            assert farm.run(RunRequest(script=f"# {number}\n")).status is RunStatus.OK
        status = farm.fleet.workers[0].status(1.0)
        assert (status.num_runs, status.num_slots_lost) == (10, 0)


def test_metrics_count_what_happened(serve, free_port):
    listen = f"127.0.0.1:{free_port}"
    with serve(f"metrics_listen={listen}") as worker, Farm([worker.address]) as farm:
        for script in ("units lj\n", "units lj\n", "nonsense\n", "shell ls\n"):
            farm.run(RunRequest(script=script))
        text = urllib.request.urlopen(f"http://{listen}/metrics").read().decode()
    values = dict(re.findall(r"^(mdx_farm\S+) (\S+)$", text, re.MULTILINE))
    expected = {
        'runs_total{status="ok"}': 1,
        'runs_total{status="error"}': 1,
        'runs_total{status="screened"}': 1,
        "cache_hits_total": 1,
        "slots": 1,
        "slots_busy": 0,
        "queue_length": 0,
        "slots_lost_total": 0,
        'sandbox_layer{layer="seccomp"}': 1,
        "run_seconds_count": 3,
    }
    assert {name: float(values[f"mdx_farm_{name}"]) for name in expected} == expected
    assert float(values["mdx_farm_cpu_seconds_sum"]) > 0


def test_metrics_port_that_is_taken_is_one_line(serve):
    with serve() as worker:
        taken = f"metrics_listen=127.0.0.1:{worker.port}"
        done = CliRunner().invoke(main, ["serve", "listen=127.0.0.1:0", "num_slots=1", taken])
    assert done.exit_code == 1
    assert done.output.startswith("error: metrics_listen: cannot listen on 127.0.0.1:")
    assert done.output.count("\n") == 1


def test_reflection_tells_tools_what_there_is(serve):
    with serve() as worker, grpc.insecure_channel(worker.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asks = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="mdx.farm.v1.Farm"),
        ]
        services, file = stub.ServerReflectionInfo(iter(asks))
    names = {service.name for service in services.list_services_response.service}
    assert {"mdx.farm.v1.Farm", "grpc.health.v1.Health"} <= names
    assert b"RunScriptRequest" in file.file_descriptor_response.file_descriptor_proto[0]


def test_picture_of_the_final_state_comes_on_request(farm):
    script = LIQUID.format(thermo=10, steps=0)
    request = RunRequest(script=script, image_pixels=64, want_outputs=("final.jpg",))
    result = farm.run(request)
    assert result.outputs["final.jpg"].content.startswith(b"\xff\xd8\xff")
    assert "final.jpg" not in result.log
    without = farm.run(RunRequest(script=script, want_outputs=("*",)))
    assert "final.jpg" not in without.outputs
    with pytest.raises(UsageError, match="4096 pixels"):
        farm.run(RunRequest(script=script, image_pixels=5000))


def test_evidence_can_be_left_out(farm):
    script = LIQUID.format(thermo=10, steps=10)
    with_evidence = farm.run(RunRequest(script=script))
    without = farm.run(RunRequest(script=script, want_evidence=False))
    assert with_evidence.evidence.runs
    assert with_evidence.evidence.final
    assert without.evidence.runs == ()
    assert without.evidence.final is None
    assert without.thermo == with_evidence.thermo


@pytest.mark.parametrize(
    ("script", "status"), [("units lj\n", "ok"), ("nonsense\n", "error"), ("quit 3\n", "crashed")]
)
def test_run_prints_one_result_and_exits_0_whatever_the_script_did(tmp_path, script, status):
    path = tmp_path / "in.lammps"
    path.write_text(script)
    done = CliRunner().invoke(main, ["run", str(path), "--json"])
    assert done.exit_code == 0
    result = json.loads(done.output)
    assert result["status"] == status
    assert {"error", "failed_command", "thermo", "timings", "sandbox", "lammps_version"} <= set(
        result
    )
    assert from_json(done.output, RunResult).status == status


@pytest.mark.parametrize(
    "arguments",
    [
        ["--wall-time", "-1"],
        ["--wall-time", "nan"],
        ["--memory-mb", "0"],
        ["--file", "folder/name=in.lammps"],
        ["--file", "missing"],
        ["--image", "-3"],
    ],
)
def test_unacceptable_request_exits_2_with_one_line(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.lammps").write_text("units lj\n")
    done = CliRunner().invoke(main, ["run", "in.lammps", *arguments])
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1


def test_limits_reach_the_script(tmp_path):
    path = tmp_path / "in.lammps"
    path.write_text("label a\nvariable x equal 1\njump SELF a\n")
    done = CliRunner().invoke(main, ["run", str(path), "--json", "--wall-time", "0.5"])
    assert json.loads(done.output)["status"] == "timeout"
