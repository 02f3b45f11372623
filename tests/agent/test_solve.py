"""The agent end to end: replayed answers, a real farm, real LAMMPS, a run folder on disk."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent import solve
from agent.evaluation import NO_SCRIPT, SANITY_CHECKS, free_text_task
from agent.generators import Message, ReplayGenerator
from mdx.chat import repair_messages, script_reply, task_messages
from mdx.errors import UsageError
from mdx.lammps.run import RunResult, RunStatus, from_json
from mdx.tasks.task import Check, CheckKind, Task
from rollout_farm.client import Farm

REQUEST = "Simulate 108 Lennard-Jones atoms at constant energy for 50 steps."
SCRIPT = """units lj
lattice fcc 0.8442
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
fix 1 all nve
thermo 10
run 50
"""
GOOD = f"Here it is.\n{script_reply(SCRIPT)}\nGood luck!"
TYPO = script_reply(SCRIPT.replace("lj/cut", "lj/cutt"))
NOTHING_RUN = script_reply(SCRIPT.replace("run 50\n", ""))


class RecordingReplay(ReplayGenerator):
    """Replays, and keeps what it was asked."""

    def __init__(self, texts: Sequence[str], *, fits: bool = True):
        super().__init__(texts)
        self.asked: list[list[Message]] = []
        self._fits = fits

    def fits(self, messages: Sequence[Message]) -> bool:
        return self._fits

    def generate(self, messages: Sequence[Message], *, num_candidates: int, seed: int) -> list[str]:
        self.asked.append(list(messages))
        return super().generate(messages, num_candidates=num_candidates, seed=seed)


def test_broken_script_is_repaired_and_the_run_folder_is_complete(
    farm: Farm, tmp_path: Path
) -> None:
    generator = RecordingReplay([TYPO, GOOD])
    outcome = solve(REQUEST, model=generator, run_dir=str(tmp_path), farm=farm)

    assert outcome.solved
    assert [a.result.status for a in outcome.attempts] == [RunStatus.ERROR, RunStatus.OK]
    broken = outcome.attempts[0]
    task = free_text_task(REQUEST)
    assert "lj/cutt" in broken.result.error
    expected = [task_messages(task), repair_messages(task, broken.script, broken.result.error)]
    assert generator.asked == expected

    assert (tmp_path / "script.in").read_text() == outcome.best.script == SCRIPT
    assert "Loop time" in (tmp_path / "log.lammps").read_text()
    assert (tmp_path / "thermo.png").read_bytes().startswith(b"\x89PNG")
    assert from_json((tmp_path / "result.json").read_bytes(), RunResult) == outcome.best.result
    assert json.loads((tmp_path / "reward.json").read_text())["solved"] is True
    report = (tmp_path / "report.md").read_text()
    assert report.startswith("# Solved after 1 repair\n")
    assert all(check in report for check in SANITY_CHECKS)
    assert (tmp_path / "attempts/1-1/answer.txt").read_text() == TYPO
    assert "lj/cutt" in (tmp_path / "attempts/1-1/script.in").read_text()
    assert (tmp_path / "attempts/2-1/answer.txt").read_text() == GOOD


def test_agent_gives_up_after_the_last_attempt(farm: Farm, tmp_path: Path) -> None:
    answers = [TYPO, "I do not know.", TYPO]
    generator = RecordingReplay(answers)
    outcome = solve(REQUEST, model=generator, run_dir=str(tmp_path), farm=farm, max_attempts=3)

    assert not outcome.solved
    assert [attempt.text for attempt in outcome.attempts] == answers
    assert outcome.attempts[1].verdict.problem == NO_SCRIPT
    # After the answer without a script there is nothing to repair.
    assert generator.asked[2] == task_messages(free_text_task(REQUEST))
    assert (tmp_path / "report.md").read_text().startswith("# Not solved in 3 rounds\n")
    assert not (tmp_path / "thermo.png").exists()


def test_script_that_failed_before_is_not_repaired_twice(farm: Farm, tmp_path: Path) -> None:
    generator = RecordingReplay([TYPO, TYPO, GOOD])
    outcome = solve(REQUEST, model=generator, run_dir=str(tmp_path), farm=farm)

    assert outcome.solved
    assert generator.asked[1] != generator.asked[2] == task_messages(free_text_task(REQUEST))


def test_repair_too_long_for_the_model_is_written_afresh(farm: Farm, tmp_path: Path) -> None:
    generator = RecordingReplay([TYPO, GOOD], fits=False)
    solve(REQUEST, model=generator, run_dir=str(tmp_path), farm=farm)

    assert generator.asked == [task_messages(free_text_task(REQUEST))] * 2


def test_script_that_runs_nothing_is_no_solution_in_free_text(farm: Farm, tmp_path: Path) -> None:
    outcome = solve(
        REQUEST,
        model=ReplayGenerator([NOTHING_RUN]),
        run_dir=str(tmp_path),
        farm=farm,
        max_attempts=1,
    )

    assert outcome.best.result.status is RunStatus.OK
    assert "no step was made" in outcome.best.verdict.problem


def test_best_of_several_candidates_is_kept(farm: Farm, tmp_path: Path) -> None:
    generator = ReplayGenerator([TYPO, GOOD, NOTHING_RUN])
    outcome = solve(REQUEST, model=generator, run_dir=str(tmp_path), farm=farm, num_candidates=3)

    assert len(outcome.attempts) == 3
    assert (outcome.best.round, outcome.best.candidate) == (1, 2)
    assert (tmp_path / "script.in").read_text() == SCRIPT


def test_task_is_judged_by_its_own_checks(farm: Farm, tmp_path: Path) -> None:
    task = Task(
        id="nve-50",
        family="nve",
        prompt=REQUEST,
        num_steps=50,
        checks=(
            Check(kind=CheckKind.UNITS, text="lj"),
            Check(kind=CheckKind.NUM_ATOMS, target=108, tolerance=0.0),
            Check(kind=CheckKind.ENSEMBLE, text="nve"),
            Check(kind=CheckKind.NUM_STEPS, target=50),
            Check(kind=CheckKind.FINITE),
        ),
    )
    short = script_reply(SCRIPT.replace("run 50", "run 5"))
    outcome = solve(task, model=ReplayGenerator([short, GOOD]), run_dir=str(tmp_path), farm=farm)

    few_steps, solution = outcome.attempts
    assert few_steps.result.status is RunStatus.OK
    assert not few_steps.verdict.solved
    assert few_steps.verdict.problem
    assert solution.verdict.solved
    assert solution.verdict.reward.total >= 0.9
    assert "num_atoms" in (tmp_path / "report.md").read_text()


def test_interrupted_session_leaves_its_attempts(farm: Farm, tmp_path: Path) -> None:
    class Interrupted(ReplayGenerator):
        def generate(self, messages, *, num_candidates, seed):
            if not self._texts:
                raise KeyboardInterrupt
            return super().generate(messages, num_candidates=num_candidates, seed=seed)

    with pytest.raises(KeyboardInterrupt):
        solve(REQUEST, model=Interrupted([TYPO]), run_dir=str(tmp_path), farm=farm)

    assert "lj/cutt" in (tmp_path / "script.in").read_text()
    assert "lj/cutt" in (tmp_path / "result.json").read_text()
    assert (tmp_path / "report.md").read_text().startswith("# Unfinished after 1 round\n")


def test_new_session_replaces_the_old_one_in_its_folder(farm: Farm, tmp_path: Path) -> None:
    solve(REQUEST, model=ReplayGenerator([TYPO, GOOD]), run_dir=str(tmp_path), farm=farm)
    solve(REQUEST, model=ReplayGenerator([TYPO]), run_dir=str(tmp_path), farm=farm, max_attempts=1)

    assert [path.name for path in (tmp_path / "attempts").iterdir()] == ["1-1"]
    assert not (tmp_path / "thermo.png").exists()


def test_folder_with_other_files_is_left_alone(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(UsageError, match="new or an earlier session"):
        solve(REQUEST, model=ReplayGenerator([GOOD]), run_dir=str(tmp_path), farm=farm)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
