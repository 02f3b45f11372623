"""Speed beside peers: MDX, google-tunix, TRL and a plain torch loop at equal shapes, in one run.

    make bench                               everything; peers get environments of their own
    python -m benchmarks.compare --quick     two repetitions
    python -m benchmarks.compare --work sft_full --work compile_28 --only mdx --only tunix

Every contestant is a process with its own interpreter. All of them get ready, then take turns
(A B C A B C ...): one computes while the others wait. A turn is several SFT steps in a row, as
training takes them: a step right after another process's is quick or slow by the memory which that
one has just given back (docs/howto/benchmarks.md). Threads, huge pages, weights, prompts and
dtype (float32) are the same for all. Writes every repetition to JSON and prints medians; works
measured earlier stay in the JSON, so that a run may be split. A contestant that fails, is not
installed or has no such work is one line, and the others go on.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.models import write_model
from benchmarks.shapes import NO_PART, WORKS, Work
from benchmarks.summary import WARM_UPS, Repetition, as_json, mean, table

ROOT = Path(__file__).resolve().parents[1]
CONTESTANTS = {"mdx": "", "tunix": "tunix", "trl": "trl", "trl-packed": "trl", "torch": "trl"}
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class Contestant:
    """A worker process; raises RuntimeError with one line where it fails."""

    def __init__(self, name: str, work: Work, model_dir: Path, peers: Path):
        environment = CONTESTANTS[name]
        python = peers / environment / "bin" / "python" if environment else Path(sys.executable)
        if not python.exists():
            raise RuntimeError(f"{python} does not exist: `make peers` installs it")
        self.process = subprocess.Popen(
            [str(python), "-m", "benchmarks.worker", name, work.name, str(model_dir)],
            cwd=ROOT,
            env={"JAX_PLATFORMS": "cpu", **os.environ, **ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.repetitions = [self._answer()]

    def take_turn(self, times: int) -> None:
        """Do the work so many times in a row and keep the mean of what was measured."""
        self.repetitions.append(mean([self._repeat() for _ in range(times)]))

    def _repeat(self) -> Repetition:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        with self.process:  # closes its pipes and waits
            pass

    def _answer(self) -> Repetition:
        assert self.process.stdout is not None
        try:
            return parse_answer(self.process.stdout.readline())
        except RuntimeError:
            self.close()
            raise


def parse_answer(line: str) -> Repetition:
    """Return what a worker's line says; raises RuntimeError for an error or an ended worker."""
    if not line:
        raise RuntimeError("the process ended without an answer")
    answer = json.loads(line)
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return Repetition(**answer)


@click.command()
@click.option("--work", "works", multiple=True, type=click.Choice(list(WORKS)))
@click.option("--only", "names", multiple=True, type=click.Choice(list(CONTESTANTS)))
@click.option("--repetitions", default=7, show_default=True, help="After the warm-ups.")
@click.option("--quick", is_flag=True, help="Two repetitions.")
@click.option("--peers", default=".venv-peers", show_default=True, help="Peers' environments.")
@click.option("--out", default="benchmarks.json", show_default=True)
def main(
    works: tuple[str, ...],
    names: tuple[str, ...],
    repetitions: int,
    quick: bool,
    peers: str,
    out: str,
) -> None:
    """Measure and print."""
    console = Console()
    path = Path(out)
    results = json.loads(path.read_text())["works"] if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in works or WORKS:
            work = WORKS[name]
            model_dir = write_model(work.shape, Path(folder))
            results[name] = measure(
                work,
                model_dir,
                list(names or CONTESTANTS),
                rounds=WARM_UPS - 1 + (2 if quick else repetitions),
                peers=(ROOT / peers),
                console=console,
            )
            document = {"machine": machine(), "works": results}
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    titles = {name: work.title for name, work in WORKS.items()}
    console.print(table({name: results[name] for name in WORKS if name in results}, titles))


def measure(
    work: Work, model_dir: Path, names: list[str], *, rounds: int, peers: Path, console: Console
) -> dict[str, Any]:
    """Return the JSON of one work item."""
    errors: dict[str, str] = {}
    running: dict[str, Contestant] = {}
    for name in names:
        reason = NO_PART.get(name, {}).get(work.name)
        if reason:
            console.print(f"{work.name}: {name} has no part: {reason}")
            continue
        console.print(f"{work.name}: {name} gets ready")
        try:
            running[name] = Contestant(name, work, model_dir, peers)
        except RuntimeError as error:
            errors[name] = str(error)
            console.print(f"{work.name}: {name} is left out: {error}")
    for number in range(1, rounds + 1):
        for name, contestant in list(running.items()):
            started = time.perf_counter()
            try:
                contestant.take_turn(work.in_a_row if number >= WARM_UPS else 1)
            except (RuntimeError, BrokenPipeError) as error:
                errors[name] = str(error)
                del running[name]
            took = time.perf_counter() - started
            console.print(f"{work.name}: {number}/{rounds} {name} {took:.2f} s")
    for contestant in running.values():
        contestant.close()
    measured = {name: contestant.repetitions for name, contestant in running.items()}
    return as_json(work.measure, measured, errors)


def machine() -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
