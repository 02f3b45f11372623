"""Examples: splits without overlap, determinism, phrasings."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from omegaconf import OmegaConf

from mdx.errors import UsageError
from mdx.tasks.families import FAMILIES
from mdx.tasks.generate import Example, draw_examples
from mdx.tasks.splits import SPLITS, HeldOut, skeleton, split_of

SCRIPT = "units metal\nvelocity all create 600 4928\nfix 2 all langevin 300 300 0.1 4928\nrun 300\n"


def test_skeleton_ignores_seeds_and_nothing_else():
    assert skeleton(SCRIPT) == skeleton(SCRIPT.replace("4928", "17"))
    for old, new in (("600", "610"), ("0.1", "0.2"), ("run 300", "run 301"), ("metal", "real")):
        assert skeleton(SCRIPT) != skeleton(SCRIPT.replace(old, new))


def test_train_and_test_share_no_skeleton_and_no_text():
    train = list(draw_examples(split="train", num_scripts=3000, seed=1, phrasings_per_script=4))
    validation = list(draw_examples(split="validation", num_scripts=200, seed=1))
    test = list(draw_examples(split="test", num_scripts=400, seed=1))
    parts = [{skeleton(e.script) for e in part} for part in (train, validation, test)]
    texts = [{e.task.prompt for e in part} for part in (train, validation, test)]
    for sets in (parts, texts):
        assert sum(map(len, sets)) == len(set.union(*sets))
    assert all(split_of(e.script) == "test" for e in test)


def test_a_text_determines_its_skeleton():
    seen: dict[str, str] = {}
    for seed in range(3):
        for example in draw_examples(
            split="train", num_scripts=1000, seed=seed, phrasings_per_script=5
        ):
            kept = seen.setdefault(example.task.prompt, skeleton(example.script))
            assert kept == skeleton(example.script), example.task.prompt


def test_scripts_are_distinct_and_spread_evenly_over_the_families():
    examples = list(draw_examples(split="test", num_scripts=400, seed=2))
    keys = {(e.task.family, skeleton(e.script)) for e in examples}
    assert len(keys) == len(examples) == 400
    counts = Counter(e.task.family for e in examples)
    assert set(counts) == {f.name for f in FAMILIES}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_longer_draw_begins_with_the_shorter():
    short = list(draw_examples(split="train", num_scripts=30, seed=7))
    long = list(draw_examples(split="train", num_scripts=90, seed=7))
    assert long[:30] == short
    assert list(draw_examples(split="train", num_scripts=30, seed=8)) != short


def test_the_quickstart_learns_from_the_scripts_that_its_figures_were_measured_with():
    data = OmegaConf.load("configs/quickstart.yaml").data
    examples = draw_examples(
        split="train",
        num_scripts=200,
        seed=0,
        phrasings_per_script=data.phrasings_per_script,
        families=data.families,
        material_set=data.material_set,
    )
    drawn = "".join(e.task.prompt + e.script + (e.failed_script or "") for e in examples)
    assert hashlib.sha256(drawn.encode()).hexdigest()[:16] == "6a9175e2414fcfed"


def test_draw_does_not_depend_on_pythons_hash_seed():
    program = (
        "import hashlib\n"
        "from mdx.tasks.generate import draw_examples\n"
        "examples = draw_examples(split='train', num_scripts=60, seed=1, phrasings_per_script=2)\n"
        "print(hashlib.sha256(repr(list(examples)).encode()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(digests) == 1


def test_phrasings_of_one_script_differ_in_text_and_id_alone():
    examples = list(draw_examples(split="train", num_scripts=20, seed=4, phrasings_per_script=4))
    for i in range(0, len(examples), 4):
        four = examples[i : i + 4]
        assert len({e.script for e in four}) == 1
        assert len({e.task.prompt for e in four}) == len({e.task.id for e in four}) == 4


def test_only_repairs_have_a_failed_script():
    for example in draw_examples(split="train", num_scripts=80, seed=5, phrasings_per_script=2):
        is_repair = example.task.family.startswith("repair")
        assert (example.failed_script is not None) == is_repair
        assert example.failed_script != example.script
        assert example.error is None


def test_families_can_be_chosen():
    examples = list(draw_examples(split="test", num_scripts=6, seed=1, families=["nvt", "void"]))
    assert [e.task.family for e in examples].count("nvt") == 3
    assert {e.task.family for e in examples} == {"nvt", "void"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tests"}, "the split must be one of"),
        ({"families": ["nvtt"]}, "there is no task family 'nvtt'"),
        ({"families": ["lattice_constant"], "num_scripts": 9999}, "distinct scripts"),
    ],
)
def test_impossible_draws_are_refused(arguments: dict, message: str):
    defaults = {"split": "test", "num_scripts": 1, "seed": 0}
    with pytest.raises(UsageError, match=message):
        list(draw_examples(**{**defaults, **arguments}))


HELD_OUT = HeldOut(
    families=("quench", "surface"),
    potentials=("NiAlH_jea.eam.alloy", "Si.tersoff"),
    pair_percent=10,
    has_grpo=True,
)


def held_out_draw(split: str, num_scripts: int) -> list[Example]:
    return list(
        draw_examples(
            split=split, num_scripts=num_scripts, seed=3, material_set="basic", held_out=HELD_OUT
        )
    )


def test_what_is_held_out_occurs_in_its_own_split_alone():
    draws = {split: held_out_draw(split, 120) for split in SPLITS}
    pairs = {
        split: {(e.task.parameters["simulation"], e.task.elements) for e in examples}
        for split, examples in draws.items()
    }
    for split, examples in draws.items():
        families = {e.task.parameters["simulation"] for e in examples}
        assert (families <= {"quench", "surface"}) == (split == "test_family")
        assert families.isdisjoint({"quench", "surface"}) == (split != "test_family")
        held = [e for e in examples if re.search(r"^pair_coeff.*(jea|Si\.tersoff)", e.script, re.M)]
        assert len(held) == (len(examples) if split == "test_potential" else 0)
    assert pairs["test_pair"].isdisjoint(pairs["train"] | pairs["grpo"] | pairs["test"])
    parts = [{skeleton(e.script) for e in examples} for examples in draws.values()]
    texts = [{e.task.prompt for e in examples} for examples in draws.values()]
    for sets in (parts, texts):
        assert sum(map(len, sets)) == len(set.union(*sets))


def test_holding_nothing_out_changes_no_draw():
    plain = list(draw_examples(split="test", num_scripts=40, seed=1))
    assert list(draw_examples(split="test", num_scripts=40, seed=1, held_out=HeldOut())) == plain


def test_what_there_is_not_cannot_be_held_out():
    for held_out in (HeldOut(families=("nvtt",)), HeldOut(potentials=("Cu.eam",))):
        with pytest.raises(UsageError, match=r"no task family|has the potential"):
            list(draw_examples(split="test", num_scripts=1, seed=0, held_out=held_out))
