"""Draw scripts for tasks from an exported model.

All prompts go to the sampler in one call, whose shapes depend on the tasks and the configuration
alone: models of one architecture and tokenizer share one compilation, so the quickstart evaluates
four stages and compiles once. JAX is imported when the first sample is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evals.report import CodegenConfig
from mdx.chat import render_prompt, task_messages
from mdx.tasks.task import Task
from mdx.tokenizer import Tokenizer
from mdx.trajectory import Completion, StopReason


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One completion for one task. Samples come in any order; the two indices restore it."""

    task: Task
    task_index: int
    sample_index: int
    prompt_tokens: tuple[int, ...]
    completion: Completion


def sample_tasks(model_dir: str, tasks: Sequence[Task], config: CodegenConfig) -> Iterator[Sample]:
    """Yield `num_samples` completions for each task, each as soon as it is written.

    Raises UsageError for a prompt that does not fit into the model's context.
    """
    import jax

    from mdx.model.hf import load_hf
    from mdx.model.sampler import sample_stream

    tokenizer = Tokenizer.load(model_dir)
    prompts = tokenizer.encode_batch([render_prompt(task_messages(task)) for task in tasks])
    _, graphdef, params = load_hf(model_dir)
    stream = sample_stream(
        graphdef,
        params,
        prompts,
        num_samples=config.num_samples,
        max_new_tokens=config.max_new_tokens,
        eos_ids=(tokenizer.eos_id,),
        key=jax.random.key(config.seed),
        temperature=config.temperature,
        top_p=config.top_p,
        num_slots=config.num_slots,
    )
    for task_index, sample_index, sampled in stream:
        yield Sample(
            task=tasks[task_index],
            task_index=task_index,
            sample_index=sample_index,
            prompt_tokens=tuple(prompts[task_index]),
            completion=to_completion(tokenizer, sampled.tokens, sampled.logprobs),
        )


def to_completion(
    tokenizer: Tokenizer, tokens: Sequence[int], logprobs: Sequence[float]
) -> Completion:
    """Return sampled tokens as a completion; `text` is without the end-of-turn token."""
    ended = len(tokens) > 0 and tokens[-1] == tokenizer.eos_id
    return Completion(
        tokens=tuple(tokens),
        logprobs=tuple(logprobs),
        text=tokenizer.decode(tokens),
        stop_reason=StopReason.EOS if ended else StopReason.LENGTH,
    )
