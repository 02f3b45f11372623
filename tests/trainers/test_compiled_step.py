"""What the compiled step does with memory and precision."""

import collections
import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.data.batch import Batch
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.decoder import init, structure
from mdx.model.lora import init_adapters
from trainers.losses import count_tokens, make_loss_sum, make_next_token_loss
from trainers.optim import OptimConfig, make_optimizer, make_schedule
from trainers.state import create_state
from trainers.step import jit_update, make_update

MODEL = ModelConfig(
    vocab_size=4096,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
)
LORA = LoraConfig(rank=2, targets=("q_proj", "down_proj"))
BLOCK = 64
OPTIM = OptimConfig(num_steps=9, warmup_steps=0)
HALF = ComputeConfig(dtype="bfloat16", scan_layers=True)
WHOLE = ComputeConfig(scan_layers=True)  # in float32
SMALL = dataclasses.replace(MODEL, vocab_size=256, num_hidden_layers=1)


def make_batch(rows=4, length=128, seed=0):
    rng = np.random.default_rng(seed)
    shape = (rows, length)
    mask = np.ones(shape, np.float32)
    mask[:, 0] = 0
    return Batch(
        tokens=rng.integers(0, MODEL.vocab_size, shape).astype(np.int32),
        loss_mask=mask,
        segment_ids=np.ones(shape, np.int32),
        positions=np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
    )


def make_loss(lora=None, compute=HALF):
    graphdef = structure(MODEL, compute, lora)
    return make_next_token_loss(make_loss_sum(graphdef, vocab_block=BLOCK))


def start(lora=None):
    """Return a state of new weights and the base, or None."""
    params = init(MODEL)[1]
    base = None
    if lora:
        base = jax.tree.map(lambda leaf: leaf.astype(lora.base_dtype), params)
        params = init_adapters(MODEL, lora, jax.random.key(1))
    return create_state(params, make_optimizer(OPTIM), jax.random.key(0)), base


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_state_is_donated_the_base_is_not_and_no_logits_exceed_a_block(lora):
    update = make_update(
        make_loss(lora), make_optimizer(OPTIM), make_schedule(OPTIM), num_microbatches=2
    )
    state, base = start(lora)
    batch = jax.tree.map(jnp.asarray, make_batch())
    lowered = jit_update(update, state).lower(state, base, batch)
    asked = [{x.donated for x in jax.tree.leaves(part)} for part in lowered.args_info[0]]
    assert asked == [{True}, {False} if lora else set(), {False}]
    compiled = lowered.compile()
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert compiled.memory_analysis().alias_size_in_bytes >= state_bytes
    new_state, _ = compiled(state, base, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((base, new_state)))
    vocabulary = MODEL.vocab_size
    shapes = set(re.findall(r"\b([a-z]+\d+)\[([\d,]+)\]", compiled.as_text()))
    sizes = {
        (kind, tuple(int(n) for n in shape.split(",")))
        for kind, shape in shapes
        if str(vocabulary) in shape.split(",")
    }
    assert max(int(np.prod(shape)) for _, shape in sizes) == BLOCK * vocabulary
    summed = ("f32", (16, vocabulary)) in sizes  # as a CPU sums up the head's gradient
    assert summed == (lora is None), "a frozen head has no gradient"


def test_under_bfloat16_whatever_is_sensitive_is_float32():
    """Exponentials, logarithms, roots and angles; rows of numbers are summed in float32 too."""
    state, _ = start()
    batch = jax.tree.map(jnp.asarray, make_batch())
    loss = make_loss()
    jaxpr = jax.make_jaxpr(jax.grad(lambda p: loss(p, batch, count_tokens(batch))[0]))(state.params)
    kinds = collections.defaultdict(set)
    for equation in equations(jaxpr.jaxpr):
        kinds[equation.primitive.name] |= {str(x.aval.dtype) for x in equation.invars}
    for name in ("exp", "log", "rsqrt", "cos", "sin", "reduce_sum"):
        assert kinds[name] <= {"float32", "int32"}, name
        assert "float32" in kinds[name], name
    assert "bfloat16" in kinds["dot_general"], "matrix products are what bfloat16 is for"


def test_gradients_of_microbatches_are_summed_in_float32_under_bfloat16():
    update = make_update(
        make_loss(), make_optimizer(OPTIM), make_schedule(OPTIM), num_microbatches=4
    )
    state, _ = start()
    jaxpr = jax.make_jaxpr(update)(state, None, jax.tree.map(jnp.asarray, make_batch()))
    [loop] = [e for e in jaxpr.jaxpr.eqns if e.primitive.name == "while"]
    carried = collections.Counter((x.aval.shape, str(x.aval.dtype)) for x in loop.outvars)
    weights = [leaf.shape for leaf in jax.tree.leaves(state.params)]
    assert not collections.Counter((shape, "float32") for shape in weights) - carried
    assert "bfloat16" not in {kind for _, kind in carried}


def compile_one_step(rows, length):
    loss = make_next_token_loss(make_loss_sum(structure(SMALL, WHOLE), vocab_block=2048))
    update = make_update(loss, make_optimizer(OPTIM), make_schedule(OPTIM))
    state = create_state(init(SMALL)[1], make_optimizer(OPTIM), jax.random.key(0))
    batch = make_batch(rows, length)
    batch = jax.tree.map(jnp.asarray, dataclasses.replace(batch, tokens=batch.tokens % 256))
    return jit_update(update, state).lower(state, None, batch).compile(), state, batch


def test_a_row_of_32k_takes_the_memory_of_short_rows_and_trains_as_they_do():
    """Its 64 documents are the 64 rows of the other step, so loss and gradient are those."""
    short, state, batch = compile_one_step(64, 512)
    long, state_of_long, _ = compile_one_step(1, 1 << 15)
    row = jax.tree.map(lambda x: x.reshape(1, -1), batch)
    row = dataclasses.replace(row, segment_ids=1 + jnp.arange(1 << 15)[None] // 512)
    memory = [c.memory_analysis().temp_size_in_bytes for c in (short, long)]
    assert memory[1] < 1.25 * memory[0], "nothing grows with the square of the length"
    _, expected = short(state, None, batch)
    _, found = long(state_of_long, None, row)
    for name in ("loss", "grad_norm"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-5)


def equations(jaxpr):
    """Yield every equation, inner ones included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)
