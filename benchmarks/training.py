"""Speed of the quickstart's model on this machine: training steps and sampling.

    python -m benchmarks.training [--out benchmarks.json]

Prints a table and writes JSON: tokens a second (median over repetitions), compile time, and the
share of the machine's own matrix-product rate that training reaches. Random weights and tokens;
speed does not depend on them. Peers (tunix, TRL) are not run here.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from mdx.data.batch import Batch
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import init
from mdx.model.sampler import sample
from trainers.losses import make_logprobs_fn, make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.state import create_state
from trainers.step import make_train_step

BATCH_SIZE, SEQ_LEN = 8, 512
NUM_PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 16, 64, 256
Result = dict[str, float | str]


@click.command()
@click.option("--repetitions", default=10, show_default=True)
@click.option("--out", default="benchmarks.json", show_default=True)
def main(repetitions: int, out: str) -> None:
    """Measure and print."""
    model = ModelConfig(vocab_size=1024)
    results = [
        measure_training(model, OptimConfig(), "SFT step, AdamW", repetitions),
        measure_training(model, OptimConfig(algorithm="muon"), "SFT step, Muon", repetitions),
        measure_sampling(model, max(1, repetitions // 3)),
    ]
    Path(out).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    table = Table("work", "compile (s)", "tokens/s", "share of matmul peak")
    for row in results:
        share = row.get("share_of_peak")
        table.add_row(
            str(row["work"]),
            f"{row['compile_s']:.1f}",
            f"{row['tokens_per_s']:,.0f}",
            f"{share:.0%}" if isinstance(share, float) else "",
        )
    Console().print(table)


def measure_training(model: ModelConfig, optim: OptimConfig, work: str, repetitions: int) -> Result:
    """Time full rows of `BATCH_SIZE` x `SEQ_LEN` tokens."""
    graphdef, params = init(model, key=jax.random.key(0))
    optimizer = make_optimizer(optim)
    loss = make_next_token_loss(make_logprobs_fn(graphdef, vocab_block=ComputeConfig().vocab_block))
    step = make_train_step(loss, optimizer, make_schedule(optim))
    state = create_state(params, optimizer, jax.random.key(0))
    batch = _full_rows(model.vocab_size)
    started = time.perf_counter()
    state, metrics = step(state, batch)
    metrics["loss"].block_until_ready()
    compile_s = time.perf_counter() - started
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        state, metrics = step(state, batch)
        metrics["loss"].block_until_ready()
        times.append(time.perf_counter() - started)
    tokens_per_s = BATCH_SIZE * SEQ_LEN / statistics.median(times)
    flops_per_token = 6 * model.num_parameters  # forward and backward, attention left out
    return {
        "work": work,
        "compile_s": compile_s,
        "tokens_per_s": tokens_per_s,
        "share_of_peak": tokens_per_s * flops_per_token / _matmul_peak(),
    }


def measure_sampling(model: ModelConfig, repetitions: int) -> Result:
    """Time `NUM_PROMPTS` completions of `NEW_TOKENS` tokens; no token ends a row early."""
    graphdef, params = init(model, key=jax.random.key(0))
    prompts = np.random.default_rng(0).integers(3, model.vocab_size, (NUM_PROMPTS, PROMPT_TOKENS))

    def run() -> None:
        sample(
            graphdef,
            params,
            prompts.tolist(),
            num_samples=1,
            max_new_tokens=NEW_TOKENS,
            temperature=1.0,
            top_p=1.0,
            eos_ids=(),
            key=jax.random.key(0),
            num_slots=NUM_PROMPTS,
        )

    first = _seconds(run)
    typical = statistics.median(_seconds(run) for _ in range(repetitions))
    return {
        "work": "sampling",
        "compile_s": first - typical,
        "tokens_per_s": NUM_PROMPTS * NEW_TOKENS / typical,
    }


def _full_rows(vocab_size: int) -> Batch:
    shape = (BATCH_SIZE, SEQ_LEN)
    tokens = np.random.default_rng(0).integers(0, vocab_size, shape, dtype=np.int32)
    return Batch(
        tokens=tokens,
        loss_mask=np.ones(shape, np.float32),
        segment_ids=np.ones(shape, np.int32),
        positions=np.broadcast_to(np.arange(SEQ_LEN, dtype=np.int32), shape).copy(),
    )


def _matmul_peak() -> float:
    """Return the fp32 FLOP/s of a 2048-cube matrix product on this machine, median of 5."""
    x = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    product(x).block_until_ready()
    typical = statistics.median(_seconds(lambda: product(x).block_until_ready()) for _ in range(5))
    return 2 * 2048**3 / typical


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
