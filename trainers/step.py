"""One training step: microbatches -> one gradient -> one guarded update, in one donated jit.

Frozen weights, where there are any (LoRA), are an argument of their own: sharded like the others,
neither differentiated, donated nor saved.

The step knows nothing of stages: the loss comes in as a function (`trainers.losses` states its
contract). Parameters, moments and batch arrive sharded and stay as they are; the compiler derives
the collectives from that.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mdx.data.batch import Batch
from mdx.model.lora import attach
from mdx.model.tpu import compiler_options
from trainers.losses import LossFn, Metrics, Totals, count_tokens
from trainers.processes import meet
from trainers.state import TrainState

PyTree = Any
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
Update = Callable[[TrainState, PyTree | None, Batch], tuple[TrainState, Metrics]]

# The step's time is in matrix products, which a library brings ready-made: LLVM's higher levels add
# a third to the time of compiling and nothing else (docs/log.md).
CPU_OPTIONS = {"xla_backend_optimization_level": "1"}

# What a layer makes of them stays in a CPU's cache, and half as much memory is filled with zeros
# for each step as with twice the tokens (docs/log.md).
CPU_TOKENS = 2048


def tokens_at_once(device: jax.Device) -> int:
    """Return how many tokens a device should compute at a time where no one says; 0: all."""
    return CPU_TOKENS if device.platform == "cpu" else 0


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    base: PyTree | None = None,
    num_microbatches: int = 1,
    count_fn: Callable[[Any], Totals] = count_tokens,
) -> TrainStep:
    """Return the jitted `step(state, batch) -> (state, metrics)`; `state` is donated.

    `base` are the frozen weights that the state's adapters belong to, placed on the devices.

    It is `make_update`, compiled when first called and pinned to that state's placement: the
    compiler may spell an equal placement otherwise, and the second step would compile again.
    """
    update = make_update(
        loss_fn, optimizer, schedule, num_microbatches=num_microbatches, count_fn=count_fn
    )
    compiled: list[Any] = []

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if not compiled:
            compiled.append(jit_update(update, state))
            if jax.process_count() > 1:  # no one waits in a collective while another compiles
                compiled[0].lower(state, base, batch).compile()
                meet("compiled")
        return compiled[0](state, base, batch)

    return step


def jit_update(update: Update, state: TrainState) -> Any:
    """Return `update` under `jit`, the state donated and kept where `state` lies or would lie.

    The leaves of `state` may be `jax.ShapeDtypeStruct` with shardings: nothing is computed here.
    `update` is traced under the mesh that `state` lies on, which kernels ask for, and compiled
    with the options of its devices.
    """
    placed = jax.tree.map(lambda leaf: leaf.sharding, state)
    device: Any = next(iter(state.step.sharding.device_set))
    options = CPU_OPTIONS if device.platform == "cpu" else compiler_options(device)

    @functools.wraps(update)
    def on_mesh(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(_mesh(state.step.sharding)):
            return update(*arguments)

    return jax.jit(
        on_mesh,
        donate_argnums=0,
        in_shardings=(placed, None, None),
        out_shardings=(placed, None),
        compiler_options=options or None,
    )


def _mesh(sharding: jax.sharding.Sharding) -> jax.sharding.AbstractMesh:
    if isinstance(sharding, jax.sharding.NamedSharding):
        return sharding.mesh.abstract_mesh
    return jax.sharding.get_abstract_mesh()  # one device: no mesh


def make_update(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    num_microbatches: int = 1,
    count_fn: Callable[[Any], Totals] = count_tokens,
) -> Update:
    """Return the pure `update(state, base, batch) -> (state, metrics)`.

    `loss_fn` is given the weights of `base` and of the state in one tree; the gradient is taken
    for those of the state alone. `base` is None where all weights are trained.

    The gradient is that of the summed shares of `num_microbatches` equal cuts of the batch. A
    non-finite loss or gradient leaves parameters and moments as they were and sets
    metrics["skipped"] to 1; the step still counts. The batch's rows must divide evenly.
    """

    def update(state: TrainState, base: PyTree | None, batch: Batch) -> tuple[TrainState, Metrics]:
        def loss_of(params: PyTree, batch: Batch, totals: Totals) -> tuple[jax.Array, Metrics]:
            return loss_fn(attach(base, params), batch, totals)

        totals = count_fn(batch)
        loss, gradient, metrics = _accumulate(
            loss_of, state.params, batch, totals, num_microbatches
        )
        grad_norm = optax.global_norm(gradient)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        learning_rate = schedule(state.step)

        def applied() -> tuple[PyTree, PyTree]:
            direction, opt_state = optimizer.update(gradient, state.opt_state, state.params)
            params = jax.tree.map(lambda p, d: p + learning_rate * d, state.params, direction)
            return params, opt_state

        params, opt_state = _new_if(finite, applied, (state.params, state.opt_state))
        new_state = TrainState(
            step=state.step + 1, params=params, opt_state=opt_state, key=state.key
        )
        return new_state, {
            "loss": loss,
            "lr": learning_rate,
            "grad_norm": grad_norm,
            "skipped": 1.0 - finite.astype(jnp.float32),
            **totals,
            **metrics,
        }

    return update


def _accumulate(
    loss_fn: LossFn, params: PyTree, batch: Batch, totals: Totals, num_microbatches: int
) -> tuple[jax.Array, PyTree, Metrics]:
    """Return the loss, its gradient and the metrics, each summed over the microbatches.

    Metrics named `*_max` are maxima over them instead. Microbatches of padding alone behind the
    last real token are not computed: rows to spare cost nothing.
    """
    share_and_gradient = jax.value_and_grad(loss_fn, has_aux=True)

    def one(microbatch: Batch) -> tuple[jax.Array, PyTree, Metrics]:
        (share, metrics), gradient = share_and_gradient(params, microbatch, totals)
        return share, gradient, metrics

    if num_microbatches == 1:
        return one(batch)
    microbatches = jax.tree.map(lambda x: _cut(x, num_microbatches), batch)
    shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], microbatches))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    has_tokens = jnp.any(microbatches.segment_ids > 0, axis=(1, 2))
    num_used = jnp.max(jnp.where(has_tokens, jnp.arange(1, num_microbatches + 1), 0))

    def add(index: jax.Array, sums: PyTree) -> PyTree:
        shares = one(jax.tree.map(lambda x: x[index], microbatches))
        loss, gradient = jax.tree.map(jnp.add, sums[:2], shares[:2])
        metrics = {
            name: (jnp.maximum if name.endswith("_max") else jnp.add)(value, shares[2][name])
            for name, value in sums[2].items()
        }
        return loss, gradient, metrics

    return jax.lax.fori_loop(0, num_used, add, zeros)


def _cut(x: jax.Array, num_microbatches: int) -> jax.Array:
    """Reshape [B, ...] to [microbatches, B / microbatches, ...].

    Row b goes to microbatch b mod n: each device then keeps its own rows and nothing moves.
    """
    rows = x.shape[0]
    if rows % num_microbatches:
        raise ValueError(f"{rows} rows cannot be cut into {num_microbatches} equal microbatches")
    return x.reshape(rows // num_microbatches, num_microbatches, *x.shape[1:]).swapaxes(0, 1)


def _new_if(finite: jax.Array, new: Callable[[], PyTree], old: PyTree) -> PyTree:
    """Return what `new` gives, or `old` if that is not `finite`.

    On a CPU by a branch: left to choose number by number, its compiler computes new moments again
    for the parameters, and so copies all old ones first.
    """
    return jax.lax.platform_dependent(
        cpu=lambda: jax.lax.cond(finite, new, lambda: old),
        default=lambda: jax.tree.map(lambda a, b: jnp.where(finite, a, b), new(), old),
    )
