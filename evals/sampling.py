"""Draw scripts for tasks from an exported model.

Every call of the sampler has the same shape (`prompts_per_call` prompts of at most
`max_prompt_tokens` tokens), so one compilation serves all models of one architecture in a
process: the quickstart evaluates four stages and compiles once. JAX is imported when the first
sample is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evals.report import CodegenConfig
from mdx.chat import render_prompt, task_messages
from mdx.errors import UsageError
from mdx.tasks.task import Task
from mdx.tokenizer import Tokenizer
from mdx.trajectory import Completion, StopReason


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One completion for one task."""

    task: Task
    index: int  # of the samples of this task
    prompt_tokens: tuple[int, ...]
    completion: Completion


def sample_tasks(model_dir: str, tasks: Sequence[Task], config: CodegenConfig) -> Iterator[Sample]:
    """Yield `num_samples` completions for each task, in the order of the tasks.

    Raises UsageError for a prompt of more than `max_prompt_tokens` tokens.
    """
    import jax
    from mdx.model.hf import load_hf

    from mdx.model import sampler

    tokenizer = Tokenizer.load(model_dir)
    _, graphdef, params = load_hf(model_dir)
    prompts = encode_prompts(tokenizer, tasks, config.max_prompt_tokens)
    key = jax.random.key(config.seed)
    for start in range(0, len(tasks), config.prompts_per_call):
        chunk = slice(start, start + config.prompts_per_call)
        groups = sampler.sample(
            graphdef,
            params,
            prompts[chunk],
            num_samples=config.num_samples,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            eos_ids=(tokenizer.eos_id,),
            key=jax.random.fold_in(key, start),
            num_slots=config.prompts_per_call * config.num_samples,
        )
        for task, prompt, group in zip(tasks[chunk], prompts[chunk], groups, strict=True):
            for index, sampled in enumerate(group):
                yield Sample(
                    task=task,
                    index=index,
                    prompt_tokens=tuple(prompt),
                    completion=to_completion(tokenizer, sampled.tokens, sampled.logprobs),
                )


def encode_prompts(
    tokenizer: Tokenizer, tasks: Sequence[Task], max_prompt_tokens: int
) -> list[list[int]]:
    """Return the tokens of each task's prompt; raises UsageError for one that is too long."""
    prompts = tokenizer.encode_batch([render_prompt(task_messages(task)) for task in tasks])
    for task, prompt in zip(tasks, prompts, strict=True):
        if len(prompt) > max_prompt_tokens:
            raise UsageError(
                f"the prompt of task {task.id} has {len(prompt)} tokens, more than the "
                f"{max_prompt_tokens} allowed: raise --max-prompt-tokens"
            )
    return prompts


def to_completion(
    tokenizer: Tokenizer, tokens: Sequence[int], logprobs: Sequence[float]
) -> Completion:
    """Return sampled tokens as a completion; `text` is without the end-of-turn token."""
    ended = len(tokens) > 0 and tokens[-1] == tokenizer.eos_id
    return Completion(
        tokens=tuple(int(token) for token in tokens),
        logprobs=tuple(float(logprob) for logprob in logprobs),
        text=tokenizer.decode(tokens),
        stop_reason=StopReason.EOS if ended else StopReason.LENGTH,
    )
