"""The whole corpus: every file is kept or named, the bytes are the same after a kill."""

import base64
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdx.config import dump_config
from mdx.corpus.build import SPLITS, build_documents, read_documents
from mdx.corpus.config import BenchmarkConfig, SourceConfig
from mdx.data.datasets import read_records
from mdx.errors import UsageError
from trainers.data_cli import main


def documents(config):
    return [d for split in SPLITS for d in read_documents(config.out_dir, split)]


def files_of(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted([*folder.glob("documents/*"), *folder.glob("report.*")])
    }


def test_every_file_is_kept_or_named_with_its_reason(config):
    report = build_documents(config, lambda *_: None)
    kept = {d.source.removeprefix("mine: "): d for d in documents(config)}
    assert set(kept) == {
        "fix_soften.rst",
        "water.html",
        "verlet.pdf",
        "melt/in.melt",
        "melt/log.melt.1",
    }
    reasons = {item["name"]: item["reason"] for item in report.dropped}
    assert reasons == {
        "broken.txt": "binary file",
        "endless.txt": "endless line",
        "latin.txt": "wrong encoding",
        "scan.pdf": "PDF without text",
        "half.pdf": "broken PDF",
        "torn.txt.gz": "broken gzip",
        "empty.md": "empty file",
        "short.md": "too short",
        "circle.rst": "symbolic link",
        "melt/up.md": "symbolic link",
        "pipe.txt": "not a regular file",
        "nothing": "empty folder",
        "melt/in.melt.copy": "duplicate",
        "melt/log.melt.4": "near-duplicate",
    }
    script = kept["melt/in.melt"]
    assert script.licence == "Apache-2.0"
    assert "All rights reserved" in script.notice
    assert "All rights reserved" not in script.text
    assert script.text.startswith("```lammps\nunits lj\n")
    shown = Path(config.out_dir, "report.md").read_text(encoding="utf-8")
    assert all(name in shown for name in reasons)


def test_what_is_slow_or_large_fails_alone(config, folder, tmp_path):
    (folder / "slow.html").write_text("<div>" * 400_000 + "words " * 40)
    slow = replace(config, limits=replace(config.limits, max_seconds=2.0))
    (tmp_path / "config.yaml").write_text(dump_config(slow))
    # a process that has loaded libtpu ignores SIGPROF and hands that down to its readers
    command = ["env", "--ignore-signal=PROF", "--block-signal=PROF", sys.executable]
    command += ["-m", "trainers.data_cli", "corpus", "--config", str(tmp_path / "config.yaml")]
    subprocess.run(command, check=True)
    report = json.loads(Path(config.out_dir, "report.json").read_text())
    reasons = {item["name"]: item["reason"] for item in report["dropped"]}
    assert reasons["slow.html"] == "takes too long"
    assert report["num_kept"] == 5


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(config, folder, tmp_path):
    for i in range(300):
        words = " ".join(f"atom{i}x{j} moves" for j in range(60))
        (folder / f"note_{i}.txt").write_text(f"{words}. The temperature of the system rises.\n")
    again = replace(config, out_dir=str(tmp_path / "killed"))
    (tmp_path / "config.yaml").write_text(dump_config(again))
    command = [sys.executable, "-m", "trainers.data_cli", "corpus", "--config"]
    process = subprocess.Popen([*command, str(tmp_path / "config.yaml")])
    journal = tmp_path / "killed" / "journal.jsonl"
    while not (journal.exists() and journal.stat().st_size > 20_000):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    known = journal.read_bytes().count(b"\n")
    assert 0 < known < 310
    progress = []
    build_documents(again, lambda what, done, _: progress.append((what, done)))
    assert progress[0] >= ("files", known - 1)
    assert [what for what, _ in progress] == sorted((what for what, _ in progress), reverse=True)
    assert progress[-1] == ("documents", 315)
    build_documents(config, lambda *_: None)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "out")


def test_a_changed_file_is_read_again(config, folder):
    build_documents(config, lambda *_: None)
    page = folder / "fix_soften.rst"
    page.write_text(page.read_text().replace("relaxes gently", "relaxes at once"))
    build_documents(config, lambda *_: None)
    assert any("relaxes at once" in d.text for d in documents(config))


def test_documents_that_hold_a_benchmark_item_are_dropped(config, tmp_path):
    hidden = {"answers": ["which allows a time step of two femtoseconds instead of one"]}
    item = {"id": 1, "answer": "BASE64:" + base64.b64encode(json.dumps(hidden).encode()).decode()}
    file = tmp_path / "bench.jsonl"
    file.write_text(json.dumps(item) + "\n")
    report = build_documents(
        replace(config, benchmarks=BenchmarkConfig(files=[str(file)])), lambda *_: None
    )
    dropped = {i["name"]: i for i in report.dropped if i["reason"] == "repeats a benchmark"}
    assert set(dropped) == {"water.html"}
    assert "bench.jsonl" in dropped["water.html"]["detail"]


def test_the_command_writes_the_data_set(config, tmp_path):
    (tmp_path / "config.yaml").write_text(dump_config(config))
    result = CliRunner().invoke(main, ["corpus", "--config", str(tmp_path / "config.yaml")])
    assert result.exit_code == 0, result.output
    sizes = json.loads((tmp_path / "out/corpus.json").read_text())["data_sets"]["md_knowledge"]
    records = [
        record
        for split in SPLITS
        if sizes[split]["num_records"]
        for record in read_records(config.out_dir, "md_knowledge", split)
    ]
    assert {r["title"] for r in records} >= {"fix soften command", "Water models"}
    assert all(r["licence"] == "Apache-2.0" and r["sha256"] for r in records)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sources": []}, "at least one folder"),
        ({"sources": [SourceConfig(name="a", path="absent", licence="x")]}, "does not exist"),
        (
            {"sources": [SourceConfig(name="a", path=".", licence="x", kinds=["word"])]},
            "kinds must be among",
        ),
        ({"benchmarks": BenchmarkConfig(files=["absent.json"])}, "cannot be read"),
    ],
)
def test_mistakes_of_the_user_are_one_line(config, change, words):
    with pytest.raises(UsageError, match=words):
        build_documents(replace(config, **change), lambda *_: None)
