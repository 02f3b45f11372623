"""How a conversation becomes text: special tokens, the chat template, prompts and replies.

The format is that of Qwen3, without a system turn unless one is given and without thinking:

    <|im_start|>user
    {content}<|im_end|>
    <|im_start|>assistant
    {content}<|im_end|>

`render_prompt` and `render_conversation` are the run-time path; `CHAT_TEMPLATE` is the same format
in Jinja, exported with the tokenizer so that any other program renders the same text (a test
compares the two through transformers). Training and sampling share `task_messages`,
`repair_messages` and `script_reply`, so the policy never meets a format that it was not taught.
"""

import re
from collections.abc import Mapping, Sequence

from mdx.errors import UsageError
from mdx.tasks.task import Task

END_OF_TEXT = "<|endoftext|>"  # pads batches and ends a document of continued pre-training
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"  # ends a turn: the EOS of sampling
SPECIAL_TOKENS = (END_OF_TEXT, START_OF_TURN, END_OF_TURN)

ROLES = ("system", "user", "assistant")
ASSISTANT_HEADER = f"{START_OF_TURN}assistant\n"

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

# LAMMPS ends a message with the place in its own sources, which teaches nothing about the script.
_SOURCE_LOCATION = re.compile(r"\s*\((?:\S*/)?\w+\.(?:cpp|h):\d+\)\s*$")
_MAX_ERROR_CHARACTERS = 160

Message = dict[str, str]


def task_messages(task: Task) -> list[Message]:
    """Return the conversation that asks for a script: one user turn, the prompt as it is."""
    return [{"role": "user", "content": task.prompt}]


def repair_messages(task: Task, failed_script: str, error: str) -> list[Message]:
    """Return the conversation that asks to repair `failed_script`, which ended with `error`.

    One user turn: the prompt, the script in a fence, the first line of the error.
    """
    content = f"{task.prompt}\n{script_reply(failed_script)}\n{error_line(error)}"
    return [{"role": "user", "content": content}]


def script_reply(script: str) -> str:
    """Return the assistant's turn that answers with `script`, fenced as LAMMPS."""
    return f"```lammps\n{script.strip(chr(10))}\n```"


def error_line(error: str) -> str:
    """Return the one line of `error` that a repair prompt shows, beginning with `ERROR: `.

    The place in LAMMPS's C++ sources is dropped and the line is cut at 160 characters.
    """
    lines = error.strip().splitlines()
    line = _SOURCE_LOCATION.sub("", lines[0]) if lines else "the run is not what was asked for"
    line = line.removeprefix("ERROR").removeprefix(":").strip()
    return f"ERROR: {line}"[:_MAX_ERROR_CHARACTERS]


def render_prompt(messages: Sequence[Mapping[str, str]]) -> str:
    """Return the text that a completion follows; it ends with the assistant's header.

    Raises UsageError for an empty conversation or an unknown role.
    """
    return "".join(_render_turn(message) for message in _checked(messages)) + ASSISTANT_HEADER


def render_conversation(messages: Sequence[Mapping[str, str]]) -> list[tuple[str, bool]]:
    """Return the conversation as (text, is_target) segments whose texts join to the whole.

    Targets are what the assistant writes: the content of its turns and the end-of-turn token, but
    neither the header nor the line break after the turn. Encode each segment by itself: then the
    first target begins exactly where sampling begins after `render_prompt`.
    """
    segments: list[tuple[str, bool]] = []
    context = ""
    for message in _checked(messages):
        if message["role"] == "assistant":
            segments.append((context + ASSISTANT_HEADER, False))
            segments.append((message["content"] + END_OF_TURN, True))
            context = "\n"
        else:
            context += _render_turn(message)
    return [*segments, (context, False)]


def _render_turn(message: Mapping[str, str]) -> str:
    return f"{START_OF_TURN}{message['role']}\n{message['content']}{END_OF_TURN}\n"


def _checked(messages: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, str]]:
    if not messages:
        raise UsageError("a conversation needs at least one message, but it is empty")
    for message in messages:
        if message["role"] not in ROLES:
            raise UsageError(f"a role is one of {', '.join(ROLES)}, not {message['role']!r}")
    return messages
