"""Building data: only references that were run and solve their task, resumable, reproducible."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner

from mdx.config import load_config
from mdx.corpus.config import CorpusConfig, CountConfig, SourceConfig
from mdx.data.datasets import read_records, write_dataset
from mdx.data.tasks import load_examples, load_tasks, training_texts
from mdx.errors import MdxError, UsageError
from mdx.lammps.library import potentials_dir
from mdx.lammps.run import RunLimits, RunStatus
from mdx.tasks.generate import Example, draw_groups
from mdx.tasks.task import Task
from rollout_farm.client import Farm
from tests.manual.test_questions import PAGES
from trainers.broken_scripts import may_take_long
from trainers.build_config import BuildConfig, HeldOutConfig, plans_of
from trainers.build_data import build_data, keep, run
from trainers.build_manifest import check_disjoint, finished_manifest, verify_files
from trainers.data_cli import main
from trainers.data_records import question_records
from trainers.reference_facts import ReferenceFacts
from trainers.reference_runs import Job, Outcome, RunJournal, run_jobs, setting_of

SMALL = BuildConfig(
    num_train_scripts=6,
    phrasings_per_script=2,
    num_validation_scripts=3,
    num_test_scripts=3,
    num_questions=30,
    families=["lattice_constant", "crystal", "repair"],
)


@pytest.fixture(scope="module")
def farm():
    with Farm() as farm:
        yield farm


@pytest.fixture(scope="module")
def built(tmp_path_factory, farm):
    """Return the configuration and the manifest of a finished build."""
    config = replace(SMALL, out_dir=str(tmp_path_factory.mktemp("built")))
    return config, build_data(config, farm)


def drawn(config):
    """Return the examples that a build runs at first, by split, the phrasings together."""
    groups = {}
    for plan in plans_of(config):
        stream = draw_groups(
            split=plan.split,
            seed=config.seed,
            phrasings_per_script=plan.phrasings,
            families=plan.families,
            material_set=config.material_set,
            held_out=config.held_out.held_out,
        )
        short = (group for group in stream if not any(map(may_take_long, group)))
        groups[plan.split] = list(islice(short, plan.num_scripts))
    return groups


def outcome(job, *, rewards, status=RunStatus.OK, error="", setting="here"):
    return Outcome(
        key=job.key,
        rewards=rewards,
        status=status,
        error=error,
        evidence="{}",
        lammps_version="",
        facts=ReferenceFacts(observables={}, num_atoms=1, num_steps=1, cost_s=0.1),
        wall_time_s=0.0,
        cpu_time_s=0.0,
        setting=setting,
    )


def pair_of_phrasings(failed_script=None):
    tasks = [Task(id=str(i), family="f", prompt=f"Text {i}.") for i in range(2)]
    group = tuple(Example(task=t, script="run 1\n", failed_script=failed_script) for t in tasks)
    return group, tuple(tasks)


def test_every_kept_reference_was_run_and_solves_its_task(built):
    config, _ = built
    for split in ("train", "validation", "test"):
        for record in read_records(config.out_dir, "md_code_gen", split):
            assert record["reward"] >= 0.95
            evidence = json.loads(record["evidence"])
            assert evidence["final"]["num_atoms"] > 0
            assert set(evidence["components"].values()) >= {1.0}
            assert record["lammps_version"]
            assert 0.0 < record["cost_s"] < 1.0
            assert record["source"]
            assert record["licence"]


def test_a_repair_carries_the_real_error_of_its_broken_script(built, farm):
    config, _ = built
    repairs = [e for e in load_examples(config.out_dir, "train") if e.failed_script]
    assert repairs
    job = Job(script=repairs[0].failed_script, tasks=(repairs[0].task,))
    (result,) = run_jobs([job], farm, RunLimits())
    assert result.status != RunStatus.OK
    assert repairs[0].error == result.error
    assert repairs[0].task not in load_tasks(config.out_dir, "train")


@pytest.mark.parametrize(
    "status", [RunStatus.CRASHED, RunStatus.TIMEOUT, RunStatus.OUT_OF_MEMORY, RunStatus.ERROR]
)
def test_a_broken_script_that_ends_as_the_machine_has_it_is_dropped(status):
    group, tasks = pair_of_phrasings(failed_script="run 2\n")
    reference = outcome(Job(script="run 1\n", tasks=tasks), rewards=(1.0, 1.0))
    broken = [
        outcome(Job(script="run 2\n", tasks=(task,)), rewards=(0.1,), status=status, error="why")
        for task in tasks
    ]
    dropped = Counter()
    kept = keep([group], {o.key: o for o in (reference, *broken)}, 0.95, dropped)
    if status == RunStatus.ERROR:
        assert [k.example.error for k in kept] == ["why", "why"]
    else:
        assert not kept
        assert dropped == {("f", "broken script crashes or exceeds a limit"): 2}


def test_broken_scripts_that_may_take_long_are_never_run(tmp_path, farm):
    families = ["repair_overlap", "repair_units", "repair_timestep"]
    config = replace(
        SMALL,
        out_dir=str(tmp_path),
        families=families,
        num_train_scripts=40,
        phrasings_per_script=1,
        num_test_scripts=0,
        num_questions=10,
    )
    stream = draw_groups(split="train", seed=config.seed, families=families)
    assert any(any(map(may_take_long, group)) for group in islice(stream, 40))
    manifest = build_data(config, farm)
    assert manifest["passed_over"]["train"]["broken script may take long"] > 0
    examples = load_examples(config.out_dir, "train")
    assert {e.task.family for e in examples} == set(families)
    assert not any(map(may_take_long, examples))


@pytest.mark.parametrize(
    ("family", "line", "long"),
    [
        ("repair_overlap", "pair_style sw", True),
        ("repair_units", "pair_style hybrid/overlay lj/cut 8.0 meam", True),
        ("repair_timestep", "fix 1 all nph iso 0 0 0.5", True),
        ("repair_overlap", "# pair_style sw", False),
        ("repair_overlap", "pair_style tersoff", False),
        ("repair_timestep", "fix 1 all npt temp 300 300 0.1 iso 0 0 1", False),
        ("repair", "pair_style sw", False),
    ],
)
def test_what_may_take_long_is_told_by_the_text(family, line, long):
    task = Task(id="1", family=family, prompt="Repair it.")
    broken = f"units metal\n{line}\nrun 10\n"
    assert may_take_long(Example(task=task, script="run 1\n", failed_script=broken)) == long
    assert not may_take_long(Example(task=task, script=broken))


def test_the_order_is_that_of_drawing(built):
    config, _ = built
    groups = drawn(config)
    for split in groups:
        tasks = [example.task for group in groups[split] for example in group]
        stored = [example.task for example in load_examples(config.out_dir, split)]
        assert stored == [task for task in tasks if task in stored]


def test_the_potential_files_are_named_by_their_hashes(built):
    config, _ = built
    examples = load_examples(config.out_dir, "train")
    records = read_records(config.out_dir, "md_code_gen", "train")
    found = {}
    for example, record in zip(examples, records, strict=True):
        coeffs = example.task.potential.coeffs if example.task.potential else ()
        files = [word for word in " ".join(coeffs).split() if "." in word and word[0].isalpha()]
        found[tuple(files)] = record["potential_sha256"]
    for files, hashes in found.items():
        contents = [(Path(potentials_dir()) / file).read_bytes() for file in files]
        assert hashes == " ".join(hashlib.sha256(content).hexdigest() for content in contents)
    assert any(found.values())


def test_a_finished_build_returns_at_once_and_a_changed_one_does_not(built):
    config, manifest = built
    nowhere = replace(config, farm=replace(config.farm, addresses=["127.0.0.1:9"]))
    assert run(nowhere) == manifest  # no farm was needed
    assert finished_manifest(replace(config, seed=1)) is None
    assert finished_manifest(replace(config, num_test_scripts=2)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs SIGKILL")
def test_a_build_that_was_killed_goes_on_and_ends_the_same(built, tmp_path):
    config, manifest = built
    arguments = [f"out_dir={tmp_path}", "families=[lattice_constant,crystal,repair]"]
    arguments += [
        f"{name}={getattr(config, name)}"
        for name in (
            "num_train_scripts",
            "phrasings_per_script",
            "num_validation_scripts",
            "num_test_scripts",
            "num_questions",
        )
    ]
    command = [sys.executable, "-m", "trainers.data_cli", "build", *arguments]
    journal = tmp_path / "reference_runs.jsonl"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 3):
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    journal.write_bytes(journal.read_bytes() + b'{"key": "torn')
    before = journal.read_bytes().splitlines()[:3]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert journal.read_bytes().splitlines()[:3] == before  # kept, not run again
    resumed = json.loads((tmp_path / "manifest.json").read_text())
    assert resumed["digest"] == manifest["digest"]  # with the hash of every file
    assert resumed["files"] == manifest["files"]
    assert verify_files(str(tmp_path), resumed) == []


def test_splits_are_exactly_as_large_as_asked_for_and_proven_disjoint(tmp_path, farm):
    config = replace(
        SMALL,
        out_dir=str(tmp_path),
        phrasings_per_script=1,
        families=["lattice_constant", "equation_of_state", "crystal", "repair"],
        material_set="basic",
        held_out=HeldOutConfig(
            exact=True,
            families=["equation_of_state"],
            potentials=["Si.tersoff"],
            pair_percent=20,
            num_pair_scripts=2,
            num_potential_scripts=1,
            num_family_scripts=2,
            num_grpo_scripts=3,
            max_grpo_cost_s=0.016,
        ),
    )
    manifest = build_data(config, farm)
    sizes = {split: of["num_records"] for split, of in manifest["data_sets"]["md_code_gen"].items()}
    assert sizes == {
        "train": 6,
        "grpo": 3,
        "validation": 3,
        "test": 3,
        "test_pair": 2,
        "test_potential": 1,
        "test_family": 2,
    }
    assert manifest["disjoint"] == {"skeletons": 20, "texts": 20}
    grpo = read_records(config.out_dir, "md_code_gen", "grpo")
    assert all(r["cost_s"] <= 0.016 and not r["failed_script"] for r in grpo)
    assert (tmp_path / "timings.jsonl").read_text().count("\n") == 20
    card = (tmp_path / "md_code_gen" / "README.md").read_text()
    assert "| test_potential | 1 |" in card
    assert verify_files(config.out_dir, manifest) == []
    (tmp_path / "md_knowledge" / "README.md").write_text("changed")
    assert verify_files(config.out_dir, manifest) == ["md_knowledge/README.md"]


def test_a_script_in_two_splits_is_found_in_what_is_stored(built, tmp_path):
    config, _ = built
    records = read_records(config.out_dir, "md_code_gen", "train")
    same = {**records[0], "prompt": "Another text."}
    write_dataset("md_code_gen", str(tmp_path), {"train": records, "test": [same]})
    with pytest.raises(MdxError, match="skeletons are not disjoint: train and test"):
        check_disjoint(str(tmp_path))


def test_a_reference_below_the_threshold_is_dropped_by_phrasing():
    group, tasks = pair_of_phrasings()
    job = Job(script="run 1\n", tasks=tasks)
    kept = keep([group], {job.key: outcome(job, rewards=(0.96, 0.94))}, 0.95)
    assert [(item.example, item.reward) for item in kept] == [(group[0], 0.96)]


def test_a_reference_that_did_not_end_well_is_dropped_whatever_its_reward():
    group, tasks = pair_of_phrasings()
    job = Job(script="run 1\n", tasks=tasks)
    timed_out = outcome(job, rewards=(1.0, 1.0), status=RunStatus.TIMEOUT)
    assert keep([group], {job.key: timed_out}, 0.95) == []


@pytest.mark.parametrize(("broken_reward", "num_kept"), [(0.2, 2), (0.92, 0)])
def test_a_repair_is_kept_only_if_its_broken_script_does_not_solve_the_task(
    broken_reward, num_kept
):
    group, tasks = pair_of_phrasings(failed_script="rum 1\n")
    job = Job(script="run 1\n", tasks=tasks)
    outcomes = {job.key: outcome(job, rewards=(1.0, 1.0))}
    for task in tasks:
        broken = Job(script="rum 1\n", tasks=(task,))
        outcomes[broken.key] = outcome(
            broken, rewards=(broken_reward,), error="Unknown command: rum 1"
        )
    kept = keep([group], outcomes, 0.95)
    assert [item.example.error for item in kept] == ["Unknown command: rum 1"] * num_kept


def test_what_other_limits_or_other_code_gave_is_run_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    job = Job(script="run 1\n", tasks=pair_of_phrasings()[1])
    with RunJournal(path, "before") as journal:
        journal.add(outcome(job, rewards=(1.0, 1.0), setting="before"))
    with RunJournal(path, "after") as journal:
        assert journal.outcomes == {}
    with RunJournal(path, "before") as journal:
        assert set(journal.outcomes) == {job.key}
    assert setting_of(RunLimits()) == setting_of(RunLimits())
    assert setting_of(RunLimits()) != setting_of(RunLimits(cpu_time_s=1.0))


def test_a_journal_forgets_only_a_torn_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    jobs = [Job(script=f"run {i}\n", tasks=pair_of_phrasings()[1]) for i in range(2)]
    with RunJournal(path, "here") as journal:
        for job in jobs:
            journal.add(outcome(job, rewards=(1.0, 0.5)))
    path.write_bytes(path.read_bytes()[:-5])
    with RunJournal(path, "here") as journal:
        assert journal.outcomes == {jobs[0].key: outcome(jobs[0], rewards=(1.0, 0.5))}
        journal.add(outcome(jobs[1], rewards=(1.0, 0.25)))
    with RunJournal(path, "here") as journal:
        assert [o.rewards for o in journal.outcomes.values()] == [(1.0, 0.5), (1.0, 0.25)]


def test_two_builds_cannot_write_one_journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    with RunJournal(path, "here"), pytest.raises(UsageError, match="another build"):
        RunJournal(path, "here")
    with RunJournal(path, "here"):
        pass  # free again


def test_an_out_dir_that_is_a_file_is_a_usage_error(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="out_dir must be a folder"):
        RunJournal(file / "journal.jsonl", "here")


def test_a_split_without_one_right_reference_is_an_error(farm, built, tmp_path):
    config, _ = built
    journal = Path(config.out_dir) / "reference_runs.jsonl"
    (tmp_path / journal.name).write_bytes(journal.read_bytes())
    with pytest.raises(MdxError, match="no reference of the train split"):
        build_data(replace(config, out_dir=str(tmp_path), min_reward=1.01), farm)


def test_every_number_of_the_configuration_changes_what_is_built():
    groups = drawn(SMALL)
    sizes = {split: [len(group) for group in groups[split]] for split in groups}
    assert sizes == {"train": [2] * 6, "validation": [1] * 3, "test": [1] * 3}
    assert drawn(replace(SMALL, seed=1)) != groups
    only = drawn(replace(SMALL, families=["crystal"]))
    assert {e.task.family for group in only["train"] for e in group} == {"crystal"}
    assert len(drawn(replace(SMALL, phrasings_per_script=3))["train"][0]) == 3
    questions = question_records(seed=0, count=30)
    assert sum(map(len, questions.values())) == 30
    assert question_records(seed=1, count=30) != questions


def test_the_tiny_configuration_asks_for_at_least_200_test_tasks():
    config = load_config(BuildConfig, "configs/tiny/data.yaml")
    assert config.num_test_scripts >= 220  # some are dropped
    assert config.out_dir == "data/tiny"


def test_the_command_line_shows_counts_and_trains_a_tokenizer(built, tmp_path):
    config, manifest = built
    command = CliRunner()
    shown = command.invoke(main, ["show", "md_code_gen", "--data", config.out_dir, "--num", "2"])
    first = load_examples(config.out_dir, "train")[0]
    assert f"prompt: {first.task.prompt}" in shown.output
    assert f"script:\n{first.script}" in shown.output
    out = ["--data", config.out_dir, "--out", str(tmp_path), "--vocab-size", "512"]
    assert command.invoke(main, ["tokenizer", *out]).output == f"512 tokens in {tmp_path}\n"
    stats = command.invoke(
        main, ["stats", "--data", config.out_dir, "--tokenizer", str(tmp_path)]
    ).output
    num_test = manifest["data_sets"]["md_code_gen"]["test"]["num_records"]
    assert next(line for line in stats.splitlines() if "md_code_gen" in line).split()[3] == str(
        num_test
    )
    assert "characters a token" in stats
    plot = tmp_path / "stats.png"
    assert command.invoke(main, ["stats", "--data", config.out_dir, "--plot", str(plot)]).output
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_records_are_found_by_family_text_and_id(built):
    config, _ = built
    tasks = load_tasks(config.out_dir, "train")
    wanted = next(task for task in tasks if task.family == "crystal")

    def shown(*options):
        result = CliRunner().invoke(
            main, ["show", "md_code_gen", "--data", config.out_dir, *options]
        )
        return result.exit_code, result.output

    code, text = shown("--family", "crystal", "--num", "99", "--split", "all")
    assert code == 0
    assert text.count("family: crystal") == text.count("md_code_gen/") > 1
    assert shown("--id", wanted.id, "--split", "test")[1].count(f"id: {wanted.id}") == 1
    assert f"prompt: {wanted.prompt}" in shown("--text", wanted.prompt.upper())[1]
    assert "observables: " in shown("--family", "lattice_constant")[1]
    assert "skeleton_sha256: " in shown("--whole")[1]
    assert shown("--text", "no such words")[0] == 2


def test_the_tokenizer_learns_from_the_train_splits_alone(built):
    config, _ = built
    texts = list(training_texts(config.out_dir))
    sizes = [
        len(read_records(config.out_dir, name, "train"))
        for name in ("md_code_gen", "md_instruct_qa", "md_knowledge")
    ]
    assert len(texts) == sum(sizes)
    held_out = {task.prompt for task in load_tasks(config.out_dir, "test")}
    assert not any(prompt in text for prompt in held_out for text in texts)


def test_a_corpus_joins_the_texts_and_questions_of_a_build(built, farm, tmp_path):
    config, alone = built
    shutil.copy(Path(config.out_dir) / "reference_runs.jsonl", tmp_path)  # no script runs again
    (tmp_path / "manual").mkdir()
    for page in PAGES:
        (tmp_path / "manual" / f"{page.name}.rst").write_text(page.text)
    corpus = CorpusConfig(
        root=str(tmp_path),
        num_workers=1,
        count=CountConfig(vocab_size=512),
        sources=[SourceConfig(name="small", path="manual", licence="MIT", manual=True)],
    )
    config = replace(config, out_dir=str(tmp_path))
    manifest = build_data(config, farm, corpus)
    assert manifest["data_sets"]["md_code_gen"] == alone["data_sets"]["md_code_gen"]
    assert manifest["corpus"]["num_documents"] == len(PAGES)
    sizes = {
        name: sum(split["num_records"] for split in of.values())
        for name, of in manifest["data_sets"].items()
    }
    before = sum(s["num_records"] for s in alone["data_sets"]["md_knowledge"].values())
    assert sizes["md_knowledge"] == before + len(PAGES)
    records = [
        record
        for name in ("md_knowledge", "md_instruct_qa")
        for split in ("train", "validation", "test")
        for record in read_records(str(tmp_path), name, split)
        if record["source"].startswith("small: ")
    ]
    assert {r["licence"] for r in records} == {"MIT"}
    assert sum("question" in r for r in records) > 50
    for name in ("md_knowledge", "md_instruct_qa"):
        card = (tmp_path / name / "README.md").read_text()
        assert ("Questions with a `page`" in card) == (name == "md_instruct_qa")
        assert (f"{len(PAGES)} documents out of" in card) == (name == "md_knowledge")
    assert not verify_files(str(tmp_path), manifest)
    assert finished_manifest(config, corpus) == manifest
    assert finished_manifest(config) is None
    assert finished_manifest(config, replace(corpus, seed=1)) is None


def test_a_build_without_a_corpus_needs_no_library_that_reads_one():
    hide = "import sys; sys.modules.update(dict.fromkeys(sys.argv[1:]))"  # None: not installed
    names = ["datasketch", "bs4", "docutils", "pypdf", "markdown_it", "py3langid", "pebble"]
    program = f"{hide}; import trainers.build_data, trainers.quickstart, trainers.data_cli"
    subprocess.run([sys.executable, "-c", program, *names], check=True)
