"""The run folder: everything of a session that a person may want to look at afterwards.

    request.json            the task as it was judged
    script.in log.lammps    the best attempt's script and the end of its log
    result.json reward.json its run result; its reward, verdict and the checks applied
    thermo.png              its probes over time, if it made a step
    report.md               the story, rewritten after every attempt
    attempts/1-1/           each attempt (round-candidate): answer.txt and the four files above

Files are written after every attempt, so that an interrupted session leaves what it had. The
folder belongs to the agent: a new session in it replaces the old one.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec

from agent.evaluation import FREE_TEXT_FAMILY
from agent.loop import Attempt, Outcome
from mdx.errors import UsageError
from mdx.lammps.run import RunResult, to_json
from mdx.tasks.task import Task

REQUEST_FILE = "request.json"
SCRIPT_FILE = "script.in"
LOG_FILE = "log.lammps"
RESULT_FILE = "result.json"
REWARD_FILE = "reward.json"
PLOT_FILE = "thermo.png"
REPORT_FILE = "report.md"
ATTEMPTS_FOLDER = "attempts"

FREE_TEXT_NOTE = (
    "A request in plain words carries no checks of its own. These say that the simulation is "
    "sound, not that it is the one asked for: read the script before you trust it."
)

_BEST_FILES = (SCRIPT_FILE, LOG_FILE, RESULT_FILE, REWARD_FILE, PLOT_FILE, REPORT_FILE)
# quantity -> its unit in the unit styles that chemists and physicists mostly use
_PLOTTED = {
    "temperature": {"metal": "K", "real": "K"},
    "potential_energy": {"metal": "eV", "real": "kcal/mol"},
    "pressure": {"metal": "bar", "real": "atm"},
    "volume": {"metal": "Å³", "real": "Å³"},
}


class RunFolder:
    """Writes one session's folder as the attempts come in."""

    def __init__(self, path: str, task: Task):
        """Claim `path`; raises UsageError if it holds files that are not an agent's."""
        self._path = Path(path)
        self._outcome = Outcome(task=task, attempts=(), run_dir=path)
        if self._path.is_dir() and any(self._path.iterdir()):
            if not (self._path / REQUEST_FILE).is_file():
                raise UsageError(f"--run-dir must be new or an earlier session, but {path} is not")
            shutil.rmtree(self._path / ATTEMPTS_FOLDER, ignore_errors=True)
            for name in _BEST_FILES:
                (self._path / name).unlink(missing_ok=True)
        self._path.mkdir(parents=True, exist_ok=True)
        (self._path / REQUEST_FILE).write_bytes(msgspec.json.format(to_json(task)))
        self._write_report(finished=False)

    @property
    def outcome(self) -> Outcome:
        """What has come of the session so far."""
        return self._outcome

    def add(self, attempt: Attempt) -> None:
        """Keep an attempt, and put it in front if it is the best so far."""
        self._outcome = replace(self._outcome, attempts=(*self._outcome.attempts, attempt))
        folder = self._path / ATTEMPTS_FOLDER / f"{attempt.round}-{attempt.candidate}"
        folder.mkdir(parents=True)
        (folder / "answer.txt").write_bytes(attempt.text.encode())
        _write_attempt(folder, attempt)
        if self._outcome.best is attempt:
            _write_attempt(self._path, attempt)
        self._write_report(finished=False)

    def finish(self) -> Outcome:
        """Plot the best run, close the report and return the outcome."""
        best = self._outcome.best
        if best is not None and best.result is not None:
            plot_thermo(best.result, self._path / PLOT_FILE)
        self._write_report(finished=True)
        return self._outcome

    def _write_report(self, *, finished: bool) -> None:
        plotted = (self._path / PLOT_FILE).is_file()
        text = render_report(self._outcome, finished=finished, plotted=plotted)
        (self._path / REPORT_FILE).write_bytes(text.encode())


def render_report(outcome: Outcome, *, finished: bool, plotted: bool) -> str:
    """Return the session as Markdown: the verdict, what was checked, every attempt."""
    best = outcome.best
    parts = [
        f"# {_headline(outcome, finished)}",
        "> " + outcome.task.prompt.replace("\n", "\n> "),
    ]
    if best is not None:
        checks = "\n".join(f"- {check}" for check in best.verdict.checks)
        parts.append(f"Checks applied:\n\n{checks}")
        if outcome.task.family == FREE_TEXT_FAMILY:
            parts.append(FREE_TEXT_NOTE)
        parts.append("## Attempts\n\n" + _attempts_table(outcome))
    if best is not None and best.script is not None:
        parts.append(f"## Best script\n\n```lammps\n{best.script.rstrip()}\n```")
    if plotted:
        parts.append(f"![probed quantities over the run]({PLOT_FILE})")
    return "\n\n".join(parts) + "\n"


def _headline(outcome: Outcome, finished: bool) -> str:
    rounds = max((attempt.round for attempt in outcome.attempts), default=0)
    if outcome.solved:
        return f"Solved after {_count(rounds - 1, 'repair')}"
    return f"{'Not solved in' if finished else 'Unfinished after'} {_count(rounds, 'round')}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _attempts_table(outcome: Outcome) -> str:
    lines = ["| round | candidate | status | reward | problem |", "|---|---|---|---|---|"]
    for attempt in outcome.attempts:
        status = attempt.result.status if attempt.result else "no script"
        reward = attempt.verdict.reward
        total = "" if reward is None else f"{reward.total:.2f}"
        problem = " ".join((attempt.verdict.problem or "none").split()).replace("|", "\\|")
        lines.append(f"| {attempt.round} | {attempt.candidate} | {status} | {total} | {problem} |")
    return "\n".join(lines)


def _write_attempt(folder: Path, attempt: Attempt) -> None:
    """Write what an attempt has of script, log, result and reward, and no leftovers of another."""
    result = attempt.result
    verdict = msgspec.json.format(to_json(attempt.verdict))
    contents = {
        SCRIPT_FILE: None if attempt.script is None else attempt.script.encode(),
        LOG_FILE: None if result is None else result.log.encode(),
        RESULT_FILE: None if result is None else msgspec.json.format(to_json(result)),
        REWARD_FILE: verdict,
    }
    for name, content in contents.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(content)


def plot_thermo(result: RunResult, file: Path) -> bool:
    """Plot the probed series of all runs over the step; returns False if there is nothing to plot.

    The values are the probes', in the units of the script's unit style.
    """
    runs = [run for run in result.evidence.runs if len(run.series.get("step", ())) > 1]
    if not runs:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    units = result.evidence.final.units if result.evidence.final else "unknown"
    for axes, (name, unit_of) in zip(figure.subplots(2, 2).flat, _PLOTTED.items(), strict=True):
        for run in runs:
            values = [float("nan") if v is None else v for v in run.series.get(name, ())]
            if values:
                axes.plot(run.series["step"], values)
        axes.set_xlabel("step")
        axes.set_ylabel(f"{name.replace('_', ' ')} ({unit_of.get(units, units + ' units')})")
    figure.suptitle("probed during the run")
    figure.savefig(file, dpi=100)
    return True
