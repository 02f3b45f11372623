"""One contestant as a process: prepares one work item, then runs a repetition for each line.

    python -m benchmarks.worker CONTESTANT WORK MODEL_DIR        (started by benchmarks.compare)

Each line on the standard input asks for one repetition and is answered by one line of JSON on the
standard output. The contestant's module offers `prepare(work, model_dir)`, which returns a
function that does one repetition and returns how many useful tokens it brought. The first
repetition, which compiles, is done at once and answered without being asked for.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from benchmarks.shapes import WORKS

MODULES = {
    "mdx": "benchmarks.ours",
    "tunix": "benchmarks.peer_tunix",
    "trl": "benchmarks.peer_trl",
    "trl-packed": "benchmarks.peer_trl_packed",
    "torch": "benchmarks.peer_torch",
}


def main() -> None:
    """Answer until the standard input ends."""
    contestant, work, model_dir = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        module = importlib.import_module(MODULES[contestant])
        run = module.prepare(WORKS[work], Path(model_dir))
        _answer(answers, measured(run))
        for _ in sys.stdin:
            _answer(answers, measured(run))
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        _answer(answers, {"error": f"{type(error).__name__}: {reason}"})
        raise
    finally:
        answers.flush()
        os._exit(0)  # threads of training loops stand still for ever


def measured(run: Callable[[], int]) -> dict[str, float]:
    """Do one repetition; return tokens, seconds, CPU seconds and the growth of memory in it."""
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = _status("VmRSS")
    cpu, started = _cpu_seconds(), time.perf_counter()
    tokens = run()
    seconds = time.perf_counter() - started
    return {
        "tokens": tokens,
        "seconds": seconds,
        "cpu_seconds": _cpu_seconds() - cpu,
        "peak_bytes": _status("VmHWM") - before,
    }


def _answer(answers: TextIO, value: dict) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    main()
