"""The notebook runs from top to bottom on real reports and shows their figures."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from evals.codegen import summarise
from evals.figures import find_reports, plot_curve, read_metrics, stage_table
from evals.report import CodegenConfig, write_report
from mdx.errors import UsageError


@pytest.fixture
def run_dir(make_trajectory: Callable, tmp_path: Path) -> str:
    for model, rewards in (("sft", (0.1, 0.5, 0.3)), ("grpo", (0.95, 0.6, 0.9))):
        trajectories = [make_trajectory(f"t{i}", reward) for i, reward in enumerate(rewards)]
        report = summarise(trajectories, CodegenConfig(), model=model, fingerprint=model)
        write_report(report, trajectories, str(tmp_path / model / "eval"))
    lines = [json.dumps({"step": step, "reward": 0.1 * step}) + "\n" for step in range(1, 6)]
    (tmp_path / "grpo/metrics.jsonl").write_text("".join(lines))
    return str(tmp_path)


def test_stage_table_lists_reports_in_the_order_of_writing(run_dir: str) -> None:
    header, _, first, second = stage_table(find_reports(run_dir)).splitlines()

    assert header.startswith("| report | tasks | ExecSuccess@1 |")
    assert first.startswith("| sft/eval | 3 | 1.000 (1.000 to 1.000) | not measured | 0.000")
    assert second.startswith("| grpo/eval | 3 |")
    assert second.endswith("| 0.817 (0.600 to 0.950) |")


def test_curve_shows_the_values_and_their_running_mean(run_dir: str) -> None:
    (rows,) = read_metrics(run_dir).values()
    raw, smooth = plot_curve(rows, "reward", smooth_over=2).axes[0].lines

    assert list(raw.get_ydata()) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert list(smooth.get_ydata()) == pytest.approx([0.1, 0.15, 0.25, 0.35, 0.45])


def test_what_was_never_measured_is_named(run_dir: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are reward"):
        plot_curve([{"step": 1, "reward": 0.5}], "entropy")
    with pytest.raises(UsageError, match=r"holds no report\.json"):
        find_reports(str(tmp_path / "elsewhere"))


def test_notebook_runs_on_a_run_directory(run_dir: str) -> None:
    text = files("evals.notebooks").joinpath("evaluation.ipynb").read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # committed without outputs
    parameters = next(cell for cell in notebook.cells if cell.source.startswith("RUN_DIR = "))
    parameters.source = f"RUN_DIR = {run_dir!r}"

    config = Config({"KernelManager": {"transport": "ipc"}})  # no open port
    NotebookClient(notebook, kernel_name="python3", timeout=60, config=config).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = "".join(str(output.get("data", output.get("text", ""))) for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert "| grpo/eval | 3 |" in shown
    assert "minus sft" in shown
    assert "ran, but lost most in" in shown
