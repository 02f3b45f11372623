"""Prompts as the policy sees them: a task to try, or a failure of it to repair."""

from dataclasses import dataclass

from mdx.chat import END_OF_TURN, error_line, render_prompt, repair_messages, task_messages
from mdx.tasks.task import Task
from mdx.tokenizer import Tokenizer
from trainers.recycle import Failure


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A task to try, or a failure of it to repair."""

    task: Task
    tokens: tuple[int, ...]
    failure: Failure | None = None
    error_span: tuple[int, int] = (0, 0)  # of the error line in `tokens`

    @property
    def depth(self) -> int:
        """Repairs that led here: 0 for a first attempt."""
        return self.failure.depth + 1 if self.failure else 0


def first_prompt(task: Task, tokenizer: Tokenizer) -> Prompt:
    """Return the prompt of a first attempt at `task`."""
    tokens = tokenizer.encode(render_prompt(task_messages(task)))
    return Prompt(task=task, tokens=tuple(tokens))


def repair_prompt(failure: Failure, task: Task, tokenizer: Tokenizer) -> Prompt:
    """Return the prompt that shows `failure`, a failed attempt at `task`, and asks for a repair."""
    text = render_prompt(repair_messages(task, failure.script, failure.error))
    tokens = tokenizer.encode(text)
    line_start = text.rindex(error_line(failure.error))
    after = text[line_start:].index(END_OF_TURN) + line_start
    # A special token never merges with its neighbours, so the end of the line is exact.
    span = (
        len(tokenizer.encode(text[:line_start])),
        len(tokens) - len(tokenizer.encode(text[after:])),
    )
    return Prompt(task=task, tokens=tuple(tokens), failure=failure, error_span=span)
