"""The code generation benchmark: sample scripts for held-out tasks, run them all, report.

    report = evaluate_codegen("runs/sft/export", tasks, farm, CodegenConfig(num_samples=3))

Scripts run on the farm while later prompts are still being sampled. What counts as executed or
passed is defined in `evals.scoring`. With `out_dir` the report is also written, and a finished
report of the same model files, tasks and configuration is returned as it is. Nothing is resumed
within an evaluation: it takes minutes, and its random keys make a repetition the same.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from evals.report import REPORT_FILE, CodegenConfig, CodegenReport, read_report, write_report
from evals.sampling import Sample, sample_tasks
from evals.scoring import count_failures, estimate_metrics, score_families, score_tasks
from evals.statistics import Estimate
from mdx.errors import FarmError, UsageError
from mdx.lammps.run import RunLimits, RunRequest, RunResult, to_json
from mdx.lammps.script import extract_script
from mdx.rewards import score
from mdx.tasks.task import Task
from mdx.trajectory import Trajectory

_KEPT_LOG_CHARACTERS = 4_000


class Runner(Protocol):
    """What is needed of a farm (`rollout_farm.client.Farm`)."""

    def submit(self, request: RunRequest) -> Future[RunResult]:
        """Run a script; the future raises FarmError where the infrastructure failed."""
        ...


def evaluate_codegen(
    model_dir: str,
    tasks: Sequence[Task],
    farm: Runner,
    config: CodegenConfig = CodegenConfig(),  # noqa: B008 - frozen
    *,
    out_dir: str | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> CodegenReport:
    """Evaluate the Hugging Face directory `model_dir` on `tasks` and return the report.

    `on_done` is called, from any thread, after each of the tasks x num_samples trajectories.
    Raises UsageError for a missing model or no tasks, FarmError where no script could be run.
    """
    if not tasks:
        raise UsageError("an evaluation needs at least one task, but none was given")
    digest = fingerprint(model_dir, tasks, config)
    if out_dir is not None and (finished := _finished_report(out_dir, digest)) is not None:
        return finished
    samples = sample_tasks(model_dir, tasks, config)
    trajectories = run_samples(samples, farm, config, on_done=on_done)
    report = summarise(trajectories, config, model=model_dir, fingerprint=digest)
    if out_dir is not None:
        write_report(report, trajectories, out_dir)
    return report


def run_samples(
    samples: Iterable[Sample],
    farm: Runner,
    config: CodegenConfig,
    *,
    on_done: Callable[[], None] = lambda: None,
) -> list[Trajectory]:
    """Run each sample's script as soon as it is there; return the trajectories by task and index.

    A trajectory that the infrastructure lost has no reward. Raises FarmError if that befell all
    that were sent, since then there is no farm.
    """
    sent = []
    for sample in samples:
        script = extract_script(sample.completion.text)
        future = None if script is None else farm.submit(_request(sample.task, script, config))
        if future is not None:
            future.add_done_callback(lambda _: on_done())
        else:
            on_done()
        sent.append((sample, script, future))
    sent.sort(key=lambda entry: (entry[0].task_index, entry[0].sample_index))
    trajectories = [_trajectory(*entry) for entry in sent]
    _refuse_if_all_lost(trajectories)
    return trajectories


def summarise(
    trajectories: Sequence[Trajectory], config: CodegenConfig, *, model: str, fingerprint: str
) -> CodegenReport:
    """Add up trajectories to a report."""
    per_task = score_tasks(trajectories)
    estimates = estimate_metrics(per_task, seed=config.seed)

    def mean(metric: str) -> float | None:
        estimate: Estimate | None = estimates.get(metric)
        return None if estimate is None else estimate.mean

    return CodegenReport(
        model=model,
        fingerprint=fingerprint,
        config=config,
        num_tasks=len(per_task),
        num_trajectories=len(trajectories),
        num_lost=sum(task.num_lost for task in per_task),
        exec_success_at_1=mean("exec_success_at_1"),
        exec_success_at_3=mean("exec_success_at_3"),
        pass_rate=mean("pass_rate"),
        mean_reward=mean("mean_reward"),
        ci95={metric: (e.low, e.high) for metric, e in estimates.items()},
        per_task=per_task,
        families=score_families(per_task),
        failures=count_failures(trajectories),
        statuses=dict(Counter(t.result.status for t in trajectories if t.result)),
        components=_mean_components(trajectories),
    )


def fingerprint(model_dir: str, tasks: Sequence[Task], config: CodegenConfig) -> str:
    """Return the sha256 of what decides the outcome: model files, tasks, configuration.

    Raises UsageError where `model_dir` is no Hugging Face directory.
    """
    check_model_dir(model_dir)
    digest = hashlib.sha256(to_json(config) + to_json(tuple(tasks)))
    for file in sorted(path for path in Path(model_dir).iterdir() if path.is_file()):
        digest.update(file.name.encode())
        with open(file, "rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def check_model_dir(model_dir: str) -> None:
    """Raise UsageError where `model_dir` is no Hugging Face directory."""
    if not (Path(model_dir) / "config.json").is_file():
        raise UsageError(
            f"--model needs a Hugging Face directory (config.json, *.safetensors, tokenizer.json), "
            f"but {model_dir} is none; training stages write one to <run_dir>/export"
        )


def _finished_report(out_dir: str, digest: str) -> CodegenReport | None:
    if not (Path(out_dir) / REPORT_FILE).is_file():
        return None
    report = read_report(out_dir)
    return report if report.fingerprint == digest else None


def _request(task: Task, script: str, config: CodegenConfig) -> RunRequest:
    limits = RunLimits(wall_time_s=config.wall_time_s, cpu_time_s=config.wall_time_s)
    return RunRequest(script=script, files=task.files, limits=limits, task=task)


def _trajectory(sample: Sample, script: str | None, future: Future[RunResult] | None) -> Trajectory:
    result, reward = None, None
    if future is None:
        reward = score(sample.task, script, None)
    else:
        try:
            result = future.result()
        except FarmError:
            pass  # no reward: no script is to blame
        else:
            reward = result.reward or score(sample.task, script, result)
            result = replace(result, log=result.log[-_KEPT_LOG_CHARACTERS:])
    return Trajectory(
        id=f"{sample.task.id}/{sample.sample_index}",
        task=sample.task,
        prompt_tokens=sample.prompt_tokens,
        completion=sample.completion,
        script=script,
        result=result,
        reward=reward,
    )


def _refuse_if_all_lost(trajectories: Sequence[Trajectory]) -> None:
    sent = [t for t in trajectories if t.script is not None]
    if sent and all(t.reward is None for t in sent):
        raise FarmError(
            f"the farm ran none of {len(sent)} scripts: check its address with `mdx-farm status`"
        )


def _mean_components(trajectories: Sequence[Trajectory]) -> Mapping[str, float]:
    values: dict[str, list[float]] = {}
    for reward in (t.reward for t in trajectories if t.reward is not None):
        for name, value in reward.components.items():
            values.setdefault(name, []).append(value)
    return {name: sum(of_name) / len(of_name) for name, of_name in sorted(values.items())}
