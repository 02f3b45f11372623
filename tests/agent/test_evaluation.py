"""The sanity checks of free text, on hand-made evidence."""

import pytest

from agent.evaluation import free_text_task, judge, sanity_problems
from mdx.lammps.run import Evidence, FinalState, ProbedRun, Reward, RunResult, RunStatus

SOUND = {
    "command": "run",
    "first_step": 0,
    "last_step": 100,
    "num_atoms_before": 32,
    "num_atoms_after": 32,
    "timestep": 0.005,
    "series": {"step": (0.0, 100.0), "temperature": (1.4, 0.7)},
}
FINAL = {
    "units": "lj",
    "step": 100,
    "num_atoms": 32,
    "num_types": 1,
    "pair_style": "lj/cut",
    "fixes": ("nve",),
    "box_lengths": (5.0, 5.0, 5.0),
}


def result_of(run: dict | None = None, final: dict | None = None, **change) -> RunResult:
    evidence = Evidence(
        runs=(ProbedRun(**{**SOUND, **(run or {})}),),
        final=FinalState(**{**FINAL, **(final or {})}),
    )
    fields = {"status": RunStatus.OK, "evidence": evidence, "reward": Reward(total=0.5)}
    return RunResult(**{**fields, **change})


def test_sound_run_has_no_problem() -> None:
    assert list(sanity_problems(result_of())) == []


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (result_of({"last_step": 0}), "no step was made"),
        (result_of(evidence=Evidence()), "no step was made"),
        (result_of({"num_atoms_after": 31}), "atoms were lost"),
        (result_of({"series": {"temperature": (1.0, None)}}), "not finite"),
        (result_of(final={"finite": False}), "not finite"),
        (result_of(status=RunStatus.ERROR, error="Unknown command: rum"), "Unknown command: rum"),
        (result_of(status=RunStatus.TIMEOUT), "timeout"),
    ],
)
def test_each_unsound_run_is_told_apart(result: RunResult, problem: str) -> None:
    assert any(problem in line for line in sanity_problems(result))
    verdict = judge(free_text_task("Run argon."), "run 100", result)
    assert not verdict.solved
    assert problem in verdict.problem
