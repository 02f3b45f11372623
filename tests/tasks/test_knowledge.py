"""Documents: complete, licensed, deterministic, and of the training split alone."""

import pytest

from mdx.errors import UsageError
from mdx.tasks.facts import facts
from mdx.tasks.generate import draw_examples
from mdx.tasks.knowledge import draw_documents
from mdx.tasks.materials import materials

TRAIN = list(draw_examples(split="train", num_scripts=40, seed=1))


def test_documents_hold_all_cards_and_all_training_examples():
    texts = [document.text for document in draw_documents(TRAIN, 1)]
    assert len(set(texts)) == len(texts)
    for example in TRAIN:
        assert f"{example.task.prompt}\n```lammps\n{example.script}```\n" in texts
    whole = "\n".join(texts)
    for material in materials():
        assert f"with the potential {material.potential_file}" in whole
    for fact in facts().commands:
        assert fact.syntax in whole
    for fact in facts().errors:
        assert f"{fact.error}\nCause: {fact.cause}.\nFix: {fact.fix}.\n" in texts


def test_documents_are_licensed_and_depend_on_the_seed_alone():
    documents = list(draw_documents(TRAIN, 1))
    assert {d.licence for d in documents} == {"Apache-2.0"}
    assert documents == list(draw_documents(TRAIN, 1))
    other = list(draw_documents(TRAIN, 2))
    assert other != documents
    assert sorted(d.text for d in other) == sorted(d.text for d in documents)


def test_examples_of_other_splits_are_refused():
    held_out = list(draw_examples(split="test", num_scripts=1, seed=1))
    with pytest.raises(UsageError, match="training split only"):
        list(draw_documents(held_out, 1))
