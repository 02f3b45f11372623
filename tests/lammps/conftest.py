"""Real LAMMPS runs in a throw-away subprocess each, without the farm: `run_script`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mdx.lammps.library import potentials_dir
from mdx.lammps.run import FinalState, ProbedRun
from mdx.tasks.task import Potential

CHILD = """
import json, sys
import msgspec
from mdx.lammps.library import Lammps, LammpsError
from mdx.lammps.recorder import Recorder
from mdx.lammps.postmortem import final_state
from mdx.tasks.task import Potential

request = json.load(sys.stdin)
lammps = Lammps(("-log", "log.lammps", "-screen", "none", "-nocite"))
recorder = Recorder(lammps)
error = None
try:
    lammps.file("in.lammps")
except LammpsError as failure:
    error = recorder.error or str(failure)
runs = recorder.finish()
potential = msgspec.convert(request["potential"], type=Potential | None)
final = final_state(lammps, potential)
lammps.close()
print(msgspec.json.encode({"error": error, "runs": runs, "final": final}).decode())
"""


class Outcome(msgspec.Struct):
    """What the subprocess reports."""

    error: str | None
    runs: tuple[ProbedRun, ...]
    final: FinalState | None
    log: str = ""
    folder: Path = Path()


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., Outcome]:
    """Run a text as it is (instrument it first for probes) in `tmp_path`."""

    def run(text: str, potential: Potential | None = None, **files: str) -> Outcome:
        for name, content in {"in.lammps": text, **files}.items():
            (tmp_path / name).write_text(content)
        request = {"potential": msgspec.to_builtins(potential)}
        environment = {**os.environ, "LAMMPS_POTENTIALS": potentials_dir()}
        done = subprocess.run(
            [sys.executable, "-c", CHILD],
            input=json.dumps(request),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        outcome = msgspec.json.decode(done.stdout.splitlines()[-1], type=Outcome)
        outcome.folder = tmp_path
        outcome.log = (tmp_path / "log.lammps").read_text()
        return outcome

    return run
