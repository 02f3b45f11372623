"""The benchmark on a real farm: known answers give known figures, a random model runs through."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from evals.codegen import evaluate_codegen, run_samples, summarise
from evals.report import CodegenConfig, read_report, read_trajectories
from evals.sampling import Sample
from mdx.chat import script_reply
from mdx.errors import FarmError, UsageError
from mdx.lammps.run import RunRequest, RunResult, RunStatus
from mdx.tasks.task import Task
from mdx.trajectory import Completion, StopReason
from rollout_farm.client import Farm


def sample_of(task: Task, place: int, index: int, text: str) -> Sample:
    completion = Completion(tokens=(1,), logprobs=(-1.0,), text=text, stop_reason=StopReason.EOS)
    return Sample(
        task=task,
        task_index=place,
        sample_index=index,
        prompt_tokens=(1, 2),
        completion=completion,
    )


class FailsFor:
    """A real farm behind a network that loses every run of one task."""

    def __init__(self, farm: Farm, task_id: str):
        self._farm, self._task_id = farm, task_id

    def submit(self, request: RunRequest) -> Future[RunResult]:
        if request.task is None or request.task.id != self._task_id:
            return self._farm.submit(request)
        lost: Future[RunResult] = Future()
        lost.set_exception(FarmError("no worker answers"))
        return lost


def test_known_answers_give_the_figures_that_they_must(
    farm: Farm, lj_tasks: list[Task], lj_script: Callable[[int], str]
) -> None:
    solved, short, broken = lj_tasks
    answers = [
        (solved, script_reply(lj_script(10))),
        (solved, "I cannot do that."),
        (short, script_reply(lj_script(2))),  # fewer steps than asked for
        (short, script_reply(lj_script(20))),
        (broken, script_reply("units lj\nfoo bar\n")),
        (broken, script_reply("units lj\nfoo bar\n")),
    ]
    samples = [sample_of(task, i // 2, i % 2, text) for i, (task, text) in enumerate(answers)]
    done: list[None] = []
    shuffled = samples[::-1]  # the sampler gives short completions first
    trajectories = run_samples(shuffled, farm, CodegenConfig(), on_done=lambda: done.append(None))
    report = summarise(trajectories, CodegenConfig(num_samples=2), model="m", fingerprint="f")

    assert len(done) == len(answers)
    assert [t.id for t in trajectories[:3]] == ["lj-10/0", "lj-10/1", "lj-20/0"]
    assert [task.num_executed for task in report.per_task] == [1, 1, 0]
    assert [task.num_passed for task in report.per_task] == [1, 1, 0]
    assert report.exec_success_at_1 == pytest.approx((0.5 + 0.5 + 0.0) / 3)
    assert report.per_task[0].rewards[1] == 0.0  # no script, no reward
    assert report.failures[0].count == 2
    assert "foo" not in report.failures[0].signature or "error" in report.failures[0].signature
    assert report.num_lost == 0


def test_runs_lost_to_the_farm_leave_the_figures(
    farm: Farm, lj_tasks: list[Task], lj_script: Callable[[int], str]
) -> None:
    samples = [
        sample_of(t, i, 0, script_reply(lj_script(t.num_steps))) for i, t in enumerate(lj_tasks)
    ]
    trajectories = run_samples(samples, FailsFor(farm, "lj-20"), CodegenConfig())
    report = summarise(trajectories, CodegenConfig(), model="m", fingerprint="f")

    assert [t.reward is None for t in trajectories] == [False, True, False]
    assert report.num_lost == 1
    assert report.pass_rate == 1.0
    assert report.mean_reward >= 0.9


def test_farm_that_runs_nothing_is_an_error_and_no_bad_score(
    farm: Farm, lj_tasks: list[Task], lj_script: Callable[[int], str]
) -> None:
    samples = [sample_of(lj_tasks[0], 0, 0, script_reply(lj_script(10)))]

    with pytest.raises(FarmError, match="ran none of 1 scripts"):
        run_samples(samples, FailsFor(farm, "lj-10"), CodegenConfig())


def test_endless_script_is_stopped_at_the_limit(
    farm: Farm, lj_tasks: list[Task], lj_script: Callable[[int], str]
) -> None:
    samples = [sample_of(lj_tasks[0], 0, 0, script_reply(lj_script(100_000_000)))]
    (trajectory,) = run_samples(samples, farm, CodegenConfig(wall_time_s=0.5))

    assert trajectory.result.status is RunStatus.TIMEOUT
    assert trajectory.reward.total < 0.9


def test_random_model_is_evaluated_from_its_directory_and_not_twice(
    farm: Farm, tiny_model: str, lj_tasks: list[Task], tmp_path: Path
) -> None:
    config = CodegenConfig(num_samples=2, max_new_tokens=16)
    out = str(tmp_path / "eval")
    report = evaluate_codegen(tiny_model, lj_tasks, farm, config, out_dir=out)

    assert report.num_tasks == 3
    assert report.num_trajectories == 6
    assert report.exec_success_at_1 == 0.0  # noise is no script
    assert read_report(out) == report
    texts = [t.completion.text for t in read_trajectories(out)]
    assert len(set(texts)) == 6  # samples differ from each other
    assert "| nve | 3 |" in (tmp_path / "eval/report.md").read_text()

    written = (tmp_path / "eval/report.json").stat().st_mtime_ns
    assert evaluate_codegen(tiny_model, lj_tasks, farm, config, out_dir=out) == report
    assert (tmp_path / "eval/report.json").stat().st_mtime_ns == written

    repeated = evaluate_codegen(tiny_model, lj_tasks, farm, config, out_dir=str(tmp_path / "2"))
    assert [t.completion for t in read_trajectories(str(tmp_path / "2"))] == [
        t.completion for t in read_trajectories(out)
    ]
    assert repeated == report


def test_stages_of_one_shape_share_their_compilations(
    farm: Farm, tiny_models: tuple[str, str], lj_tasks: list[Task]
) -> None:
    from mdx.model.decode_loop import advance, start

    config = CodegenConfig(num_samples=2, max_new_tokens=16)
    first, second = tiny_models
    evaluate_codegen(first, lj_tasks, farm, config)
    compiled = start._cache_size(), advance._cache_size()
    evaluate_codegen(second, lj_tasks, farm, config)

    assert min(compiled) > 0
    assert (start._cache_size(), advance._cache_size()) == compiled


def test_evaluation_without_tasks_or_model_is_refused(farm: Farm, lj_tasks: list[Task]) -> None:
    with pytest.raises(UsageError, match="at least one task"):
        evaluate_codegen("missing", [], farm)
    with pytest.raises(UsageError, match="missing is none"):
        evaluate_codegen("missing", lj_tasks, farm)
