"""The job folder's mount: kept for the next script only while nothing can be told from it."""

import json
import subprocess
import sys

import pytest

from mdx.lammps.library import potentials_dir

_PROGRAM = """
import json, os, sys
from rollout_farm import namespaces
from rollout_farm.namespaces import JOB

if reason := namespaces.why_not(sys.argv[1]):
    sys.exit(f"no namespaces: {reason}")
namespaces.enter(sys.argv[1])
mount = namespaces.JobMount(0)

def place():
    mount.open(1 << 20)
    found = os.listdir(JOB), oct(os.stat(JOB).st_mode), os.statvfs(JOB).f_blocks
    with open(f"{JOB}/in.lammps", "w") as script:
        script.write("units lj\\n")
    return found, os.stat(f"{JOB}/in.lammps").st_ino

def rewrite():
    os.unlink(f"{JOB}/in.lammps")
    os.mkdir(f"{JOB}/in.lammps")

traces = {
    "nothing": lambda: None,
    "time": lambda: os.utime(JOB, ns=(7, 7)),
    "file": lambda: open(f"{JOB}/left.txt", "w").close(),
    "hidden folder": lambda: os.mkdir(f"{JOB}/.left"),
    "link": lambda: os.symlink("/", f"{JOB}/left"),
    "script removed": lambda: os.unlink(f"{JOB}/in.lammps"),
    "script replaced": rewrite,
    "second name": lambda: os.link(f"{JOB}/in.lammps", f"{JOB}/left"),
    "mode": lambda: os.chmod(JOB, 0o755),
    "owner": lambda: os.chown(JOB, 7, 7),
}
first, number = place()
results = {}
for name, leave in traces.items():
    leave()
    mount.close(["in.lammps"])
    found, now = place()
    # a file system counts its files: the first of a new one has the same number each time
    results[name] = {"as_new": found == first, "is_new": now == number,
                     "time": os.stat(JOB).st_atime_ns == 7}
mount.close(["in.lammps"])
mount.open(2 << 20)
results["size"] = os.statvfs(JOB).f_blocks == 2 * first[2]
print(json.dumps(results))
"""


def test_mount_is_kept_only_while_it_is_as_new():
    command = [sys.executable, "-c", _PROGRAM, potentials_dir()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stderr.startswith("no namespaces"):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results.pop("size")
    assert all(result["as_new"] and not result["time"] for result in results.values()), results
    kept = {name for name, result in results.items() if not result["is_new"]}
    assert kept == {"nothing", "time"}
