"""Cleaning, filters, duplicates, benchmarks and splits: properties that must hold."""

import json

import pytest

from mdx.corpus.benchmarks import Benchmarks, read_benchmark
from mdx.corpus.clean import clean
from mdx.corpus.config import (
    BenchmarkConfig,
    CorpusConfig,
    DuplicateConfig,
    FilterConfig,
    Kind,
    SplitConfig,
)
from mdx.corpus.duplicates import DuplicateFinder, exact_key, signature_of
from mdx.corpus.quality import fault_of, language_of, words_of
from mdx.corpus.splits import family_of, split_of
from mdx.errors import UsageError

PROSE = " ".join(
    f"Sentence number {i} says that atom {i} of the crystal moves a little." for i in range(40)
)


def test_cleaning_twice_is_cleaning_once():
    once = clean("A\u200bB  \n\n\n\nC\u00a0D<|endoftext|>\n# ==========\n").text
    assert once == clean(once).text
    assert once == "AB\n\nC D\n"


def test_licences_become_metadata_and_commands_never_do():
    notice = "# Copyright (c) 2001 A. Person\n# This is distributed under the GNU licence"
    cleaned = clean(f"{notice}\n\nunits lj\n# copyright (c) beside a command\nrun 1\n")
    assert cleaned.text.startswith("units lj\n")
    assert "run 1" in cleaned.text
    assert "A. Person" in cleaned.notice


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (PROSE, ""),
        ("Too short.", "too short"),
        ("Der Thermostat hält die Temperatur der Atome konstant. " * 9, "other language"),
        ("=+-*/&% a b c " * 60, "mostly symbols"),
        ("1.2345678 2.3456789 3.4567890 a\n" * 30, "mostly numbers"),
        ("the same line of words comes back\n" * 90, "repeated lines"),
    ],
)
def test_faults(text, fault):
    assert fault_of(text, language_of(text), FilterConfig()) == fault


def test_each_filter_bound_moves_its_filter():
    strict = {
        "min_words": (10_000, "too short"),
        "max_symbol_share": (0.0, "mostly symbols"),
        "max_number_share": (0.0, "mostly numbers"),
        "max_mean_line_chars": (10.0, "long lines"),
        "max_repeated_ngram_share": (-0.1, "repeated phrases"),
        "languages": (["zh"], "other language"),
    }
    for name, (value, fault) in strict.items():
        assert fault_of(PROSE, language_of(PROSE), FilterConfig(**{name: value})) == fault


def test_near_duplicates_are_found_and_others_are_not():
    config = DuplicateConfig()
    finder = DuplicateFinder(config)
    other = " ".join(f"Molecule {i} rotates in the {i + 3}rd field of water." for i in range(60))

    def ask(name, text):
        return finder.original_of(name, exact_key(text), signature_of(text, config))

    assert ask("a", PROSE) is None
    assert ask("b", other) is None
    assert ask("c", PROSE.upper()) == ("a", True)
    assert ask("d", PROSE + " One more remark is added here.") == ("a", False)
    half = PROSE[: len(PROSE) // 2] + other[: len(other) // 2]
    assert ask("e", half) is None


def test_estimated_similarity_is_that_of_the_sets():
    config = DuplicateConfig(num_permutations=512)
    left = signature_of(" ".join(f"w{i}" for i in range(300)), config)
    right = signature_of(" ".join(f"w{i}" for i in range(100, 400)), config)
    shared, union = 196, 396  # 5-word shingles of words 100..299, and of 0..299 or 100..399
    assert (left == right).mean() == pytest.approx(shared / union, abs=0.07)


def test_benchmarks_of_all_forms_are_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"task": "T", "standrd_code": "run 1"}]))
    (tmp_path / "b.txt").write_text("one paragraph\n\nanother paragraph")
    assert list(read_benchmark(str(tmp_path / "a.json"))) == ["T", "run 1"]
    assert len(list(read_benchmark(str(tmp_path / "b.txt")))) == 2
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(UsageError, match="no valid JSON"):
        list(read_benchmark(str(tmp_path / "c.json")))


def test_only_a_large_share_of_an_item_counts(tmp_path):
    item = " ".join(f"word{i}" for i in range(30))
    (tmp_path / "a.txt").write_text(item)
    guard = Benchmarks(BenchmarkConfig(files=[str(tmp_path / "a.txt")]))
    assert guard.num_items == 1
    assert guard.repeated_in(f"before {item} after")
    assert guard.repeated_in("before " + " ".join(f"word{i}" for i in range(12))) is None


def test_families_stay_in_one_split_and_shares_are_as_asked():
    assert family_of("pair_lj_cut_coul.rst", Kind.RST) == family_of("pair_lj.html", Kind.HTML)
    assert family_of("melt/in.melt", Kind.LAMMPS_INPUT) == family_of("melt/log.1", Kind.LAMMPS_LOG)
    config = CorpusConfig(split=SplitConfig(validation_percent=10, test_percent=20))
    splits = [split_of(f"page {i}", config) for i in range(5000)]
    assert splits.count("validation") / 5000 == pytest.approx(0.1, abs=0.015)
    assert splits.count("test") / 5000 == pytest.approx(0.2, abs=0.02)
    assert splits != [split_of(f"page {i}", CorpusConfig(seed=1)) for i in range(5000)]


def test_chinese_characters_are_words():
    assert words_of("控制温度 fix nvt") == ["控", "制", "温", "度", "fix", "nvt"]
    assert language_of("分子动力学模拟中的温度控制方法有很多种选择。" * 6) == "zh"
