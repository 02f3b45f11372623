"""`mdx-data corpus` on a folder marked as the manual writes MD-InstructQA."""

import json

from mdx.corpus.config import BenchmarkConfig, CorpusConfig, CountConfig, SourceConfig, SplitConfig
from mdx.data.datasets import read_records
from mdx.data.tasks import conversation_of_record
from mdx.tokenizer import Tokenizer
from tests.manual.test_questions import PAGES
from trainers.build_corpus import question_records, run
from trainers.corpus_tokens import text_of


def config_of(tmp_path, **changes):
    (tmp_path / "manual").mkdir(exist_ok=True)
    for page in PAGES:
        (tmp_path / "manual" / f"{page.name}.rst").write_text(page.text)
    source = SourceConfig(name="small", path="manual", licence="Apache-2.0", manual=True)
    out_dir = str(tmp_path / "out")
    return CorpusConfig(out_dir=out_dir, root=str(tmp_path), sources=[source], **changes)


def test_the_data_set_holds_the_questions_with_their_origin(tmp_path):
    manifest = run(config_of(tmp_path, num_workers=1, count=CountConfig(vocab_size=512)))
    size = manifest["data_sets"]["md_instruct_qa"]["train"]["num_records"]
    records = read_records(str(tmp_path / "out"), "md_instruct_qa", "train")
    assert len(records) == size > 50
    assert {r["source"] for r in records} == {f"small: {page.name}.rst" for page in PAGES}
    choice = next(r for r in records if r["type"] == "single_choice")
    asked, answered = conversation_of_record(choice)
    assert asked["content"].splitlines()[-4:] == [
        f"{letter}. {option}" for letter, option in zip("ABCD", choice["options"], strict=True)
    ]
    assert answered["content"] == f"{choice['answer']}: {choice['answer_text']}"
    report = json.loads((tmp_path / "out" / "questions.json").read_text())
    total = sum(s["num_records"] for s in manifest["data_sets"]["md_instruct_qa"].values())
    assert report["num_questions"] == total
    tokenizer = Tokenizer.load(str(tmp_path / "out" / "tokenizer"))
    knowledge = read_records(str(tmp_path / "out"), "md_knowledge", "train")
    assert manifest["tokens"]["md_knowledge"]["train"] == sum(
        tokenizer.count(r["text"]) for r in knowledge
    )
    shown = "".join(
        f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in (asked, answered)
    )
    assert text_of(choice) == shown


def test_all_questions_about_a_fact_are_in_one_split_and_benchmarks_are_left_out(tmp_path):
    config = config_of(tmp_path, split=SplitConfig(validation_percent=30, test_percent=30))
    (tmp_path / "out").mkdir()
    records = question_records(config, lambda *_: None)
    splits: dict[tuple[str, str, str], set[str]] = {}
    for split, items in records.items():
        for item in items:
            if item["kind"] == "package" and item["type"] != "multiple_choice":
                splits.setdefault((item["kind"], item["page"], item["quote"]), set()).add(split)
    assert splits
    assert all(len(found) == 1 for found in splits.values())
    (tmp_path / "bench.txt").write_text("What does `fix drip` do in LAMMPS?")
    guarded = question_records(
        config_of(tmp_path, benchmarks=BenchmarkConfig(files=[str(tmp_path / "bench.txt")])),
        lambda *_: None,
    )
    asked = {item["question"] for items in guarded.values() for item in items}
    assert "What does `fix drip` do in LAMMPS?" not in asked
    assert any("fix drip" in question for question in asked)
