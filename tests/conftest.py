"""Settings every test shares: 8 virtual CPU devices, strict rank promotion, quiet libraries.

They are set before anything imports JAX, and subprocesses started by tests inherit them.
"""

import os

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
# a process of XLA's ends itself where devices wait 40 s for each other, as 8 of them do for a busy
# core; a test that hangs is ended by pytest's own limit
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8"
    " --xla_cpu_collective_call_terminate_timeout_seconds=900"
)
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name what fails when it fails: a run that is cut short prints no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.nodeid}: {report.when} failed", flush=True)
