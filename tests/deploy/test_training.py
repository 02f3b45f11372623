"""The JobSet, the Slurm script and the how-to page for training on several hosts."""

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from mdx.config import load_config
from trainers.cli import main
from trainers.sft import SftConfig
from trainers.supervisor import explain

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/howto/multihost.md").read_text(encoding="utf-8")
SCRIPT = ROOT / "deploy/slurm/train.sbatch"
JOBSET = ROOT / "deploy/kubernetes/train-jobset.yaml"


def parse(words: list[str]) -> dict:
    """Return what `mdx-train` makes of a command line, without running it."""
    command = main.commands[words[0]]
    return command.make_context(words[0], [*words[1:], "--print-config"]).params


def page_commands() -> list[str]:
    commands = re.findall(r"^ {4,}(mdx-train .*)$", PAGE, flags=re.MULTILINE)
    return commands + re.findall(r'--command="(mdx-train [^"]*)"', PAGE)


def test_the_page_has_commands_to_check():
    assert len(page_commands()) >= 3


@pytest.mark.parametrize("line", page_commands())
def test_every_command_of_the_page_is_one_that_the_program_takes(line):
    assert parse(shlex.split(line)[1:])["path"] == ("sft.yaml",)


def test_the_jobset_runs_one_pod_a_host_and_a_command_that_the_program_takes():
    spec = yaml.safe_load(JOBSET.read_text(encoding="utf-8"))["spec"]
    [job] = spec["replicatedJobs"]
    pods = job["template"]["spec"]
    pod = pods["template"]["spec"]
    [container] = pod["containers"]
    chips = 1
    for size in pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"):
        chips *= int(size)
    per_host = container["resources"]["limits"]["google.com/tpu"]
    assert pods["parallelism"] == pods["completions"] == chips // per_host
    parsed = parse(container["args"])
    config = load_config(SftConfig, None, parsed["overrides"])
    assert config.mesh.slices == job["replicas"]
    [claim] = pod["volumes"]
    assert container["volumeMounts"][0]["name"] == claim["name"]
    assert config.run_dir.startswith(container["volumeMounts"][0]["mountPath"])


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (75, True)])
def test_the_slurm_job_goes_back_into_the_queue_only_when_it_was_stopped(tmp_path, code, requeued):
    """`srun` and `scontrol` are stand-ins that write down how they were called."""
    for name, body in (("srun", f"exit {code}"), ("scontrol", "exit 0")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $@" >> {tmp_path}/calls\n{body}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run(
        ["bash", str(SCRIPT), "sft", "--config", "sft.yaml", "run_dir=runs/a b"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711"},
        check=False,
    )
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert done.returncode == code
    assert calls[0].endswith("mdx-train sft --config sft.yaml run_dir=runs/a b")
    assert ("scontrol requeue 4711" in calls) == requeued


# What jaxlib 0.10.2 printed in each case, cut.
NATIVE = {
    "not all processes met at host:1 within 9 s": (
        "F1124 16:45:25.8 client.h:80] Terminating process because the JAX distributed service "
        "detected fatal errors. absl::Status: DEADLINE_EXCEEDED: Deadline Exceeded\n\n"
        "RPC: /xla.coordination.CoordinationService/RegisterTask\n"
    ),
    "--process-id is not below the --num-processes": (
        "absl::Status: INVALID_ARGUMENT: Unexpected task registered with task=2\n\n"
        "RPC: /xla.coordination.CoordinationService/RegisterTask\n"
    ),
    "two processes have the same --process-id": (
        "ABORTED: 1 unexpectedly tried to connect with a different incarnation. It has likely\n"
    ),
    "process 1 is dead or cut off": (
        "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):\n1\n"
        "The tasks have crashed. Check the task logs for an earlier error\n"
    ),
    "process 0, the coordinator, is dead": (
        "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was\n"
    ),
}


@pytest.mark.parametrize("line", NATIVE)
def test_what_the_coordination_service_says_becomes_one_line(line):
    assert explain(NATIVE[line], "host:1", 9).startswith(f"error: {line}")
    assert "\n" not in explain(NATIVE[line], "host:1", 9)


def test_an_unknown_end_is_not_explained_away():
    assert explain("Segmentation fault", "host:1", 9) == ""
