"""The chat format: what transformers renders, what is a target, what a repair prompt shows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdx import chat
from mdx.errors import UsageError
from mdx.tasks.task import Task

TASK = Task(id="t", family="nvt", prompt="Simulate copper at 300 K.")
SCRIPT = "units metal\nrun 10\n"

text = st.text(max_size=30)
conversations = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content}, st.sampled_from(chat.ROLES), text
    ),
    min_size=1,
    max_size=6,
)


def render_with_jinja(messages, *, add_generation_prompt):
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template(
        conversations=[messages],
        chat_template=chat.CHAT_TEMPLATE,
        add_generation_prompt=add_generation_prompt,
    )
    return rendered[0]


@settings(deadline=None)  # the first example imports transformers
@given(conversations)
def test_transformers_renders_the_template_as_we_do(messages):
    prompt = render_with_jinja(messages, add_generation_prompt=True)
    assert prompt == chat.render_prompt(messages)
    whole = render_with_jinja(messages, add_generation_prompt=False)
    assert whole == "".join(segment for segment, _ in chat.render_conversation(messages))


@given(text, text, text, text)
def test_targets_are_what_the_assistant_writes_and_its_end_of_turn(first, reply, second, answer):
    roles = ("user", "assistant", "user", "assistant")
    messages = [
        {"role": role, "content": content}
        for role, content in zip(roles, (first, reply, second, answer), strict=True)
    ]
    targets = [segment for segment, is_target in chat.render_conversation(messages) if is_target]
    assert targets == [f"{reply}<|im_end|>", f"{answer}<|im_end|>"]


def test_the_first_segment_of_training_is_the_prompt_of_sampling():
    asked = chat.task_messages(TASK)
    answered = [*asked, {"role": "assistant", "content": chat.script_reply(SCRIPT)}]
    assert chat.render_conversation(answered)[0] == (chat.render_prompt(asked), False)


def test_the_training_format_is_exactly_the_documented_one():
    messages = [
        *chat.task_messages(TASK),
        {"role": "assistant", "content": chat.script_reply(SCRIPT)},
    ]
    assert "".join(segment for segment, _ in chat.render_conversation(messages)) == (
        "<|im_start|>user\nSimulate copper at 300 K.<|im_end|>\n"
        "<|im_start|>assistant\n```lammps\nunits metal\nrun 10\n```<|im_end|>\n"
    )


def test_a_repair_prompt_shows_the_task_the_script_and_one_line_of_the_error():
    error = "ERROR: Unknown command: rum 10 (src/input.cpp:314)\nLast command: rum 10"
    messages = chat.repair_messages(TASK, "units metal\nrum 10\n", error)
    assert messages == [
        {
            "role": "user",
            "content": "Simulate copper at 300 K.\n```lammps\nunits metal\nrum 10\n```\n"
            "ERROR: Unknown command: rum 10",
        }
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("Lost atoms: original 32 current 30 (/build/src/thermo.cpp:494)", None),
        ("ERROR on proc 0: Lost atoms", "ERROR: on proc 0: Lost atoms"),
        ("", "ERROR: the run is not what was asked for"),
        ("x" * 500, "ERROR: " + "x" * 153),
    ],
)
def test_an_error_becomes_one_short_line(error, line):
    assert chat.error_line(error) == (line or "ERROR: Lost atoms: original 32 current 30")


@pytest.mark.parametrize("messages", [[], [{"role": "tool", "content": "x"}]])
def test_a_conversation_that_cannot_be_rendered_is_a_usage_error(messages):
    with pytest.raises(UsageError):
        chat.render_prompt(messages)
