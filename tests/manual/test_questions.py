"""Questions from a small manual in MDX's own words: right, traceable, not to be guessed."""

from collections import Counter
from dataclasses import replace

import pytest

from mdx.corpus.config import QuestionConfig
from mdx.manual.checks import blind_baselines, fault_of, keep_sound
from mdx.manual.facts import facts_of
from mdx.manual.pages import category_of, parse_page, plain, sentences
from mdx.manual.questions import draw_questions

_PACKAGES = ("GENTLE", "HEAVY", "LIGHT-WAVE", "SALT", "WIDE", "DEEP")
_DEEDS = (
    ("soften", "Take energy out of overlapping atoms until the structure has relaxed."),
    ("spin/up", "Turn every rigid body faster around the axis that the user names."),
    ("drip", "Insert single molecules of water through a hole in the upper wall."),
    ("glue", "Keep two chosen groups together with a harmonic spring between centres."),
    ("scale", "Multiply the velocities so that the kinetic temperature reaches a target."),
    ("mark", "Store the positions of this moment as a property of each particle."),
)


def page_of(number):
    name, deed = _DEEDS[number]
    text = f"""\
.. index:: fix {name}
.. index:: fix {name}/kk

fix {name} command
=========================

Syntax
\"\"\"\"\"\"

.. parsed-literal::

   fix ID group-ID {name} strength every{number} seed keyword value ...

* ID, group-ID are documented in :doc:`fix <fix>` command
* strength = how much is changed at once by number {number} (energy units)
* seed = random number for draw {number} (positive integer)
* keyword = *key{number}a* or *key{number}b*

Description
\"\"\"\"\"\"\"\"\"\"\"

{deed}

Restrictions
\"\"\"\"\"\"\"\"\"\"\"\"

This fix is part of the {_PACKAGES[number]} package.  It is only enabled if LAMMPS was built so.

Default
\"\"\"\"\"\"\"

The option defaults are key{number}a = {number + 2}, key{number}b = no.
"""
    return parse_page(f"fix_{name.replace('/', '_')}", text, sha256=f"{number}")


PAGES = [page_of(number) for number in range(len(_DEEDS))]
BY_NAME = {page.name: page for page in PAGES}
FACTS = facts_of(PAGES)
QUESTIONS = list(keep_sound(draw_questions(FACTS, QuestionConfig(), 0), BY_NAME, Counter()))


def test_facts_are_what_the_pages_say():
    said = {(f.kind, f.subject, f.key): f.value for f in FACTS if f.kind != "keyword"}
    assert said["package", "fix soften", ""] == "GENTLE"
    assert said["purpose", "fix drip", ""] == _DEEDS[2][1]
    assert said["default", "fix mark", "key5a"] == "7"
    assert said["default", "fix mark", "key5b"] == "no"
    assert said["argument", "fix glue", "seed"] == "random number for draw 3 (positive integer)"
    assert said["argument_units", "fix glue", "strength"] == "energy"
    assert said["syntax", "fix soften", "strength every0 seed"].startswith("fix ID group-ID soften")


def test_a_page_with_two_packages_gives_no_package():
    text = PAGES[0].text.replace(
        "GENTLE package.", "GENTLE package.  This fix is part of the SALT package."
    )
    assert not [f for f in facts_of([parse_page("x", text)]) if f.kind == "package"]


def test_every_form_and_both_languages_occur_and_answers_are_traceable():
    assert {q.type for q in QUESTIONS} == {
        "single_choice",
        "multiple_choice",
        "fill_blank",
        "open_qa",
    }
    assert {q.language for q in QUESTIONS} == {"en", "zh"}
    assert len({q.id for q in QUESTIONS}) == len(QUESTIONS)
    for question in QUESTIONS:
        page = BY_NAME[question.page]
        assert question.quote in plain(page.text)
        assert question.page_sha256 == page.sha256
        assert question.quote in question.explanation


def test_letters_stand_for_the_answer_and_the_others_are_wrong():
    packages = dict(zip((f"fix {name}" for name, _ in _DEEDS), _PACKAGES, strict=True))
    checked = 0
    for question in (q for q in QUESTIONS if q.options):
        right = [question.options[ord(letter) - 65] for letter in question.answer.split(", ")]
        assert ", ".join(right) == question.answer_text
        if question.kind == "package" and question.type == "single_choice":
            subject = next(s for s in packages if f"`{s}`" in question.question)
            assert right == [packages[subject]]
            checked += 1
        if question.kind == "keyword":
            number = next(
                n for n, (name, _) in enumerate(_DEEDS) if f"fix {name}`" in question.question
            )
            expected = [o for o in question.options if o.startswith(f"key{number}")]
            assert sorted(right) == sorted(expected)
    assert checked >= 6


def test_questions_are_decided_by_the_seed():
    again = list(draw_questions(FACTS, QuestionConfig(), 0))
    other = list(draw_questions(FACTS, QuestionConfig(), 1))
    assert again == list(draw_questions(FACTS, QuestionConfig(), 0))
    assert again != other


def test_settings_move_the_questions():
    english = list(draw_questions(FACTS, QuestionConfig(chinese=False), 0))
    assert {q.language for q in english} == {"en"}
    few = list(draw_questions(FACTS, QuestionConfig(max_facts_per_kind=2), 0))
    assert len({q.group for q in few if q.kind == "purpose"}) == 2
    three = list(draw_questions(FACTS, QuestionConfig(num_options=3), 0))
    assert {len(q.options) for q in three if q.type == "single_choice"} == {3}


def test_checks_refuse_what_is_unsound():
    page = BY_NAME["fix_soften"]
    single = next(q for q in QUESTIONS if q.page == page.name and q.type == "single_choice")
    blank = next(q for q in QUESTIONS if q.page == page.name and q.type == "fill_blank")
    assert fault_of(single, page) == ""
    assert "quote" in fault_of(replace(single, quote="It says so."), page)
    assert "same" in fault_of(replace(single, options=(single.options[0],) * 4), page)
    assert "differ" in fault_of(replace(single, answer_text="something else"), page)
    told = replace(blank, question=f"Is it {blank.answer} or ____?", kind="package")
    assert "tells its answer" in fault_of(told, page)


def test_the_same_question_is_asked_once():
    dropped = Counter()
    kept = list(keep_sound([*QUESTIONS, *QUESTIONS], BY_NAME, dropped))
    assert kept == QUESTIONS
    assert dropped["asked before"] == len(QUESTIONS)


def test_blind_baselines_are_those_of_a_known_set():
    single = next(q for q in QUESTIONS if q.type == "single_choice")
    long = replace(single, options=("aaaa", "b", "c", "d"), answer="A", answer_text="aaaa")
    tie = replace(single, options=("aa", "bb", "c", "d"), answer="B", answer_text="bb")
    found = blind_baselines([long, tie])
    assert found["longest"] == pytest.approx(0.75)
    assert found["shortest"] == 0.0
    assert found["majority_letter"] == 0.5
    assert found["chance"] == 0.25


def test_plain_text_and_sentences():
    assert (
        plain("See :doc:`fix nvt <fix_nh>` and *temp*\\ , ``run 1``")
        == "See fix nvt and temp, run 1"
    )
    assert sentences("It is, e.g. this. Then that.") == ["It is, e.g. this.", "Then that."]
    assert category_of("fix nvt") == "fix"
    assert category_of("neigh_modify") == "command"
