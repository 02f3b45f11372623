"""The metrics file, the progress display and signals."""

import json
import os
import signal
import threading

import pytest

from mdx.errors import StoppedError
from trainers.hooks import MetricsWriter, ProgressDisplay, StopSignals, read_metrics


def _write(run_dir: str, steps, restored_step: int = 0) -> None:
    with MetricsWriter(run_dir, restored_step) as writer:
        for step in steps:
            writer.write(step, {"loss": 1.0 / step})
        writer.sync()


def test_resumed_file_equals_that_of_an_uninterrupted_run(tmp_path):
    _write(str(tmp_path / "whole"), range(1, 8))
    _write(str(tmp_path / "cut"), range(1, 6))
    _write(str(tmp_path / "cut"), range(4, 8), restored_step=3)
    whole, cut = (tmp_path / name / "metrics.jsonl" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


def test_torn_last_line_is_cut_off(tmp_path):
    _write(str(tmp_path), range(1, 4))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    _write(str(tmp_path), [4], restored_step=3)
    assert [line["step"] for line in read_metrics(str(tmp_path))] == [1, 2, 3, 4]


def test_a_line_is_in_the_file_when_write_returns(tmp_path):
    with MetricsWriter(str(tmp_path)) as writer:
        writer.write(1, {"loss": 0.5})
        assert read_metrics(str(tmp_path)) == [{"step": 1, "loss": 0.5}]


def test_floats_come_back_exactly_and_non_finite_ones_as_null(tmp_path):
    values = {"loss": 0.1 + 0.2, "nan": float("nan"), "inf": float("inf")}
    with MetricsWriter(str(tmp_path)) as writer:
        writer.write(1, values)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {"step": 1, "loss": 0.1 + 0.2, "nan": None, "inf": None}


def test_without_a_terminal_the_last_step_is_one_plain_line(capsys):
    with ProgressDisplay("cpt", done=1, num_steps=3) as display:
        display.update(2, {"loss": 2.5, "tokens_per_s": 1234.5})
        display.update(3, {"loss": 2.25, "tokens_per_s": 1234.5})
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["cpt 3/3 loss 2.250, 1,234 tokens/s, 0 s left"]


def test_on_a_terminal_there_is_a_bar_with_the_remaining_time(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressDisplay("sft", done=0, num_steps=2) as display:
        display.update(1, {"loss": 2.5})
        display.update(2, {"loss": 2.25})
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "loss 2.250" in shown
    assert "0:00:00" in shown


def test_sigterm_is_a_request_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        with pytest.raises(StoppedError, match="saved after step 12") as caught:
            signals.stop(12)
    assert caught.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) is before


def test_first_ctrl_c_waits_for_the_step_and_the_second_does_not():
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signals.stop(3)


def test_in_another_thread_no_handler_is_installed():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopSignals() as signals:
            seen.append((signal.getsignal(signal.SIGTERM), signals.received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]


def test_what_an_earlier_run_did_makes_no_promise_about_the_rest():
    seconds = 0.0
    with ProgressDisplay("stage", done=0, num_steps=2000, clock=lambda: seconds) as display:
        seconds += 30.0
        display.skip(990)
        display.update(990, {})
        seconds += 20.0
        display.update(1000, {})
        assert display.left_s(1000) == 20.0 / 10 * 1000
