"""How fast the pipeline feeds packed batches, beside how fast a small model trains on them.

    python -m benchmarks.data --data data/tiny --tokenizer data/tiny/tokenizer

In one run: tokens a second of the CPT and SFT pipelines with batches of 8 x 2,048 (read from the
token store, packed, not made ahead), the share of their cells that is padding, and tokens a second
of training steps of a 1.8 M- and a 4.2 M-parameter model on such batches. The ratio is what a
pipeline in one process can feed. Batches come with `prefetched` in training, so what the ratio is
above 1 costs nothing there but its own share of the CPU.
"""

import json
import statistics
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import click
import jax
import numpy as np

from mdx.data.batch import Batch
from mdx.data.pipeline import PackedIterator, cpt_batches, sft_batches
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import init, resolve
from trainers.losses import make_loss_sum, make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.state import create_state
from trainers.step import make_train_step

BATCH_SIZE = 8
MODELS = {
    "1.8 M": ModelConfig(vocab_size=1024),
    "4.2 M": ModelConfig(vocab_size=4096, hidden_size=256, intermediate_size=768, head_dim=64),
}
Figures = dict[str, float | str]


@click.command()
@click.option("--data", "data_dir", required=True)
@click.option("--tokenizer", "tokenizer_dir", required=True)
@click.option("--seq-len", default=2048, show_default=True)
@click.option("--batches", "num_batches", default=200, show_default=True)
@click.option("--steps", default=3, show_default=True, help="Training steps of each model.")
@click.option("--out", default="benchmarks_data.json", show_default=True)
def main(
    data_dir: str, tokenizer_dir: str, seq_len: int, num_batches: int, steps: int, out: str
) -> None:
    """Measure and print."""
    pipelines = {
        name: make(
            data_dir, tokenizer_dir, split="train", batch_size=BATCH_SIZE, seq_len=seq_len, seed=0
        )
        for name, make in (("cpt", cpt_batches), ("sft", sft_batches))
    }
    fed = [
        measure_pipeline(name, batches, seq_len, num_batches) for name, batches in pipelines.items()
    ]
    batch = next(pipelines["sft"])
    trained = [measure_training(name, model, batch, steps) for name, model in MODELS.items()]
    for model in trained:
        slowest = min(float(row["tokens_per_s"]) for row in fed)
        ratio = slowest / float(model["tokens_per_s"])
        model["fed_at"] = round(ratio, 1)
        click.echo(f"the slower pipeline feeds the {model['model']} model at {ratio:.0f} times")
    Path(out).write_text(json.dumps([*fed, *trained], indent=2) + "\n", encoding="utf-8")


def shown(row: Figures) -> Figures:
    """Print a row as soon as it is measured, and return it."""
    click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
    return row


def measure_pipeline(name: str, batches: PackedIterator, seq_len: int, count: int) -> Figures:
    """Return real tokens a second of one pipeline, and the padding of the batches it made."""
    next(batches)
    started = time.perf_counter()
    filled = [int((batch.segment_ids > 0).sum()) for batch in islice(batches, count)]
    seconds = time.perf_counter() - started
    cells = BATCH_SIZE * seq_len * count
    return shown(
        {
            "pipeline": name,
            "tokens_per_s": round(sum(filled) / seconds),
            "batch_ms": round(1e3 * seconds / count, 2),
            "padding": round(1 - sum(filled) / cells, 4),
        }
    )


def measure_training(name: str, model: ModelConfig, batch: Batch, steps: int) -> Figures:
    """Return tokens a second of training steps, the median over `steps` after the first."""
    graphdef, params = init(model, key=jax.random.key(0))
    optimizer = make_optimizer(OptimConfig())
    compute = resolve(ComputeConfig(), model, jax.devices()[0])
    loss = make_next_token_loss(make_loss_sum(graphdef, vocab_block=compute.vocab_block))
    step = make_train_step(loss, optimizer, make_schedule(OptimConfig()))
    tokens = np.asarray(batch.tokens) % model.vocab_size  # speed does not depend on the ids
    batch = replace(batch, tokens=tokens)
    state = create_state(params, optimizer, jax.random.key(1))
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        state, metrics = step(state, batch)
        metrics["loss"].block_until_ready()
        seconds.append(time.perf_counter() - started)
    real = int((batch.segment_ids > 0).sum())
    return shown(
        {
            "model": name,
            "num_parameters": model.num_parameters,
            "tokens_per_s": round(real / statistics.median(seconds[1:])),
        }
    )


if __name__ == "__main__":
    main()
