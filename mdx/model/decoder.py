"""The decoder: Qwen3's mathematics as a Flax NNX module with a plain pytree of weights.

`init` splits the module once; from then on the model is a hashable `graphdef` (structure and
configuration, static under `jit`) and `params`, nested dicts of arrays whose layers are stacked
on axis 0. `apply` merges the two inside traced code, where it costs nothing.

    graphdef, params = init(ModelConfig(), ComputeConfig(), jax.random.key(0))
    hidden_BTD = apply(graphdef, params, tokens, segment_ids, positions)

The module stops at the final norm: logits are the business of `mdx.model.logprobs` (training)
and `mdx.model.sampler`, neither of which ever holds [B, T, V].

Legend: B batch, T time, D hidden, N heads, G kv heads, H head_dim, F ffn, V vocabulary.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float, Int

from mdx.model.attention import attend
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.rope import rotate, rotate_by_product
from mdx.model.rotary import rotary
from mdx.model.sharding import constrain, gathered
from mdx.model.splash import LANES, SAVED_NAME
from mdx.model.swiglu import swiglu
from mdx.model.tpu import SPLASH_BLOCK, generation

Params = dict[str, Any]
GraphDef = nnx.GraphDef

DRAW_CHUNK = 1 << 16
SHORT_BLOCK = 128  # of "blocked" attention
VOCAB_BLOCK = 1024
CPU_VOCAB_BLOCK = 512  # tokens, whose logits of a small vocabulary stay in a CPU's cache
MAX_LOGITS_ON_CPU = 1 << 25  # 128 MiB; more would be most of what a step takes, and not faster
ROWWISE_BLOCK = 128  # smaller products are not shared among the cores
# Names of what the projections give: before norms and rotation, whose backward passes ask for that.
_QKV, _MLP = ("query", "key", "value"), ("gate", "up")
REMAT_POLICIES: dict[str, Callable[..., bool]] = {
    name: jax.checkpoint_policies.save_only_these_names(*kept)
    for name, kept in {
        "minimal": (*_QKV, "output", *_MLP, SAVED_NAME),
        "most": (*_QKV, *_MLP, SAVED_NAME),
        "attention": (*_QKV, "output", SAVED_NAME),
        "full": (),
    }.items()
}


def init(
    config: ModelConfig, compute: ComputeConfig | None = None, key: Array | None = None
) -> tuple[GraphDef, Params]:
    """Return the static structure and random float32 weights.

    Matrices are normal with standard deviation `initializer_range`, norms are 1.
    """
    key = jax.random.key(0) if key is None else key
    return structure(config, compute), jax.jit(_draw_params, static_argnums=0)(config, key)


def structure(
    config: ModelConfig, compute: ComputeConfig | None = None, lora: LoraConfig | None = None
) -> GraphDef:
    """Return the static half of the model without making any weight.

    With a `lora` of rank above 0 the weights are those that `mdx.model.lora.attach` returns.
    """
    resolved = resolve(compute or ComputeConfig(), config, jax.devices()[0])
    return nnx.split(nnx.eval_shape(lambda: Decoder(config, resolved, lora or LoraConfig())))[0]


def abstract_params(config: ModelConfig, lora: LoraConfig | None = None) -> Params:
    """Return the weights' shapes and dtypes as a pytree of `jax.ShapeDtypeStruct`."""
    model = nnx.eval_shape(lambda: Decoder(config, ComputeConfig(), lora or LoraConfig()))
    return nnx.to_pure_dict(nnx.state(model))


def apply(
    graphdef: GraphDef,
    params: Params,
    tokens_BT: Int[Array, "B T"],
    segment_ids_BT: Int[Array, "B T"],
    positions_BT: Int[Array, "B T"],
    branches_BT: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T D"]:
    """Return the hidden states after the final norm; call it inside `jit`.

    branches_BT: which continuation of its segment's prompt a token is of (`attention.attend`).
    """
    return nnx.merge(graphdef, params)(tokens_BT, segment_ids_BT, positions_BT, branches_BT)


def output_head(params: Params) -> Float[Array, "V D"]:
    """Return the output head: its own weight, or the embedding where the two are tied."""
    return params["lm_head"] if "lm_head" in params else params["embed_tokens"]


def rms_norm(x: Float[Array, "... D"], weight_D: Array, eps: float) -> Float[Array, "... D"]:
    """Return weight * x / sqrt(mean(x^2) + eps) over the last axis, computed in float32."""
    wide = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    weight = weight_D.reshape((1,) * (x.ndim - 1) + weight_D.shape)
    return (wide * scale * weight).astype(x.dtype)


def project(
    x_BTD: Float[Array, "B T D"], weight: Float[Array, "D ..."], *, as_matrices: bool = True
) -> Array:
    """Return x @ weight as [B, T, ...], computed in the dtype of x.

    as_matrices: one product of two matrices. Left to itself, the backward pass of the batched form
    costs twice as much on a CPU; a TPU wants the batched form, whose heads it can write where the
    attention kernel reads them.
    """
    if not as_matrices:
        return jnp.tensordot(x_BTD, weight.astype(x_BTD.dtype), axes=1)
    B, T, D = x_BTD.shape
    flat = x_BTD.reshape(B * T, D) @ weight.astype(x_BTD.dtype).reshape(D, -1)
    return flat.reshape(B, T, *weight.shape[1:])


def _row_major(x: Array) -> Array:
    """Keep a TPU's compiler from turning an array of three axes around.

    Left to itself it lays hidden states out as [D, T] in the forward pass and as [T, D] in the
    backward pass, with two copies a layer between them, and gathers the queries' weights so that
    their product takes twice the time (docs/log.md).
    """
    return with_layout_constraint(x, Layout(major_to_minor=(0, 1, 2)))


@jax.custom_vjp
def _gradient_once(x: Array) -> Array:
    """Return x; its gradient is written to memory before it is used.

    Left to itself a TPU's compiler computes the backward pass of the norm behind a projection anew
    for every tile of the two products that read it, which takes more time than they do.
    """
    return x


_gradient_once.defvjp(
    lambda x: (x, None), lambda _, gradient: (jax.lax.optimization_barrier(gradient),)
)


class Adapted(nnx.Module):
    """A block whose projections may have a low-rank adapter each (`LoraConfig`)."""

    as_matrices = True  # how `project` computes

    def add_adapters(self, lora: LoraConfig, **shapes: tuple[int, tuple[int, ...]]) -> None:
        """Add A [inputs, rank] and B [rank, *outputs] for those of `shapes` that are targets."""
        self.lora = lora
        for name, (inputs, outputs) in shapes.items():
            if lora.has(name):
                setattr(self, f"{name}_lora_a", _empty(inputs, lora.rank))
                setattr(self, f"{name}_lora_b", _empty(lora.rank, *outputs))

    def through(self, name: str, x_BTD: Array, weight: Array) -> Array:
        """Return x W, plus scale (x A) B where the projection has an adapter."""
        straight = project(x_BTD, weight, as_matrices=self.as_matrices)
        if not self.lora.has(name):
            return straight
        first, second = f"{name}_lora_a", f"{name}_lora_b"
        down = project(x_BTD, gathered(getattr(self, first)[...], first)) * self.lora.scale
        up = gathered(getattr(self, second)[...], second)
        return straight + project(down, up, as_matrices=self.as_matrices)


class Attention(Adapted):
    """Grouped-query attention with RMS-normed queries and keys."""

    def __init__(self, config: ModelConfig, compute: ComputeConfig, lora: LoraConfig):
        D, H = config.hidden_size, config.head_dim
        N, G = config.num_attention_heads, config.num_key_value_heads
        self.eps = config.rms_norm_eps
        self.as_matrices = compute.attention != "splash"
        self.q_proj = _empty(D, N, H)
        self.k_proj = _empty(D, G, H)
        self.v_proj = _empty(D, G, H)
        self.o_proj = _empty(N, H, D)
        self.q_norm = _empty(H)
        self.k_norm = _empty(H)
        self.add_adapters(
            lora,
            q_proj=(D, (N, H)),
            k_proj=(D, (G, H)),
            v_proj=(D, (G, H)),
            o_proj=(N * H, (D,)),
        )

    def project(self, x_BTD: Array, cosines: Array, sines: Array) -> tuple[Array, Array, Array]:
        """Return queries, keys (normed and rotated) and values: [B, T, heads, H]."""
        q_weight, turn = self.q_proj[...], rotate
        if not self.as_matrices:
            q_weight, turn = _row_major(q_weight.astype(x_BTD.dtype)), rotate_by_product
        query = checkpoint_name(self.through("q_proj", x_BTD, q_weight), "query")
        key = checkpoint_name(self.through("k_proj", x_BTD, self.k_proj[...]), "key")
        value = checkpoint_name(self.through("v_proj", x_BTD, self.v_proj[...]), "value")
        if not self.as_matrices:
            query, key = _gradient_once(query), _gradient_once(key)
        query = turn(rms_norm(query, self.q_norm[...], self.eps), cosines, sines)
        key = turn(rms_norm(key, self.k_norm[...], self.eps), cosines, sines)
        return query, key, value

    def output(self, mixed_BTNH: Array) -> Array:
        """Project the heads' outputs back to [B, T, D]."""
        B, T, _, _ = mixed_BTNH.shape
        weight_NHD = self.o_proj[...]
        if not self.as_matrices and not self.lora.has("o_proj"):
            weight_NHD = weight_NHD.astype(mixed_BTNH.dtype)
            return checkpoint_name(jnp.tensordot(mixed_BTNH, weight_NHD, axes=2), "output")
        flat = weight_NHD.reshape(-1, weight_NHD.shape[-1])
        output = self.through("o_proj", mixed_BTNH.reshape(B, T, -1), flat)
        return checkpoint_name(output, "output")


class Mlp(Adapted):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, lora: LoraConfig):
        D, F = config.hidden_size, config.intermediate_size
        self.gate_proj = _empty(D, F)
        self.up_proj = _empty(D, F)
        self.down_proj = _empty(F, D)
        self.add_adapters(lora, gate_proj=(D, (F,)), up_proj=(D, (F,)), down_proj=(F, (D,)))

    def __call__(self, x_BTD: Array) -> Array:
        """Return the update of the residual stream."""
        gate = checkpoint_name(self.through("gate_proj", x_BTD, self.gate_proj[...]), "gate")
        up = checkpoint_name(self.through("up_proj", x_BTD, self.up_proj[...]), "up")
        return self.through("down_proj", swiglu(gate, up), self.down_proj[...])


class DecoderLayer(nnx.Module):
    """Pre-norm attention and MLP around one residual stream."""

    def __init__(self, config: ModelConfig, compute: ComputeConfig, lora: LoraConfig):
        self.eps = config.rms_norm_eps
        self.implementation = compute.attention
        self.block = compute.attention_block
        self.input_layernorm = _empty(config.hidden_size)
        self.self_attn = Attention(config, compute, lora)
        self.post_attention_layernorm = _empty(config.hidden_size)
        self.mlp = Mlp(config, lora)

    def __call__(
        self,
        x_BTD: Array,
        segment_ids_BT: Array,
        branches_BT: Array | None,
        cosines: Array,
        sines: Array,
    ) -> tuple[Array, tuple[Array, Array]]:
        """Return the residual stream and this layer's (keys, values) [B, T, G, H]."""
        normed = rms_norm(x_BTD, self.input_layernorm[...], self.eps)
        query, key, value = self.self_attn.project(normed, cosines, sines)
        mixed = attend(
            query,
            key,
            value,
            segment_ids_BT,
            branches_BT,
            implementation=self.implementation,
            block=self.block,
        )
        x_BTD = x_BTD + self.self_attn.output(mixed)
        normed = rms_norm(x_BTD, self.post_attention_layernorm[...], self.eps)
        return x_BTD + self.mlp(normed), (key, value)


class Decoder(nnx.Module):
    """Tokens to hidden states. Layers are stacked on axis 0, scanned or unrolled alike.

    A new one has zeros for weights; `init` and `mdx.model.hf` make the real ones.
    """

    def __init__(self, config: ModelConfig, compute: ComputeConfig, lora: LoraConfig):
        self.config = config
        self.compute = compute
        self.lora = lora
        self.embed_tokens = _empty(config.vocab_size, config.hidden_size)
        make = nnx.vmap(lambda _: DecoderLayer(config, compute, lora))
        self.layers = make(jnp.arange(config.num_hidden_layers))
        self.norm = _empty(config.hidden_size)
        if not config.tie_word_embeddings:
            self.lm_head = _empty(config.vocab_size, config.hidden_size)

    def __call__(
        self,
        tokens_BT: Int[Array, "B T"],
        segment_ids_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
        branches_BT: Int[Array, "B T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Return the hidden states after the final norm, in the compute dtype."""
        depth = self.config.num_hidden_layers
        unroll = 1 if self.compute.scan_layers else depth
        x_BTD, _ = self._run(
            tokens_BT, segment_ids_BT, positions_BT, branches_BT, unroll, keep_cache=False
        )
        return rms_norm(x_BTD, self.norm[...], self.config.rms_norm_eps)

    def prefill(
        self,
        tokens_BT: Int[Array, "B T"],
        segment_ids_BT: Int[Array, "B T"],
        positions_BT: Int[Array, "B T"],
    ) -> tuple[Float[Array, "L B T G H"], Float[Array, "L B T G H"]]:
        """Return every layer's keys (rotated) and values for a decode cache.

        Layers are always scanned: a prompt is short, and compiling is what takes the time.
        """
        _, cache = self._run(tokens_BT, segment_ids_BT, positions_BT, None, 1, keep_cache=True)
        assert cache is not None
        return cache

    def _run(
        self,
        tokens_BT: Array,
        segment_ids_BT: Array,
        positions_BT: Array,
        branches_BT: Array | None,
        unroll: int,
        *,
        keep_cache: bool,
    ) -> tuple[Array, tuple[Array, Array] | None]:
        cosines, sines = rotary(positions_BT, self.config)
        graphdef, state = nnx.split(self.layers)
        on_tpu = self.compute.attention == "splash"

        def layer(x_BTD: Array, weights: Any) -> tuple[Array, Any]:
            x_BTD = _row_major(x_BTD) if on_tpu else x_BTD
            x_BTD, cache = nnx.merge(graphdef, weights)(
                x_BTD, segment_ids_BT, branches_BT, cosines, sines
            )
            x_BTD = constrain(x_BTD, "batch", None, None)
            return _row_major(x_BTD) if on_tpu else x_BTD, cache if keep_cache else None

        if self.compute.remat != "none":
            layer = jax.checkpoint(layer, policy=REMAT_POLICIES[self.compute.remat])
        x_BTD = self.embed_tokens[...].astype(self.compute.dtype)[tokens_BT]
        x_BTD = constrain(x_BTD, "batch", None, None)
        return jax.lax.scan(layer, x_BTD, state, unroll=unroll)


def resolve(compute: ComputeConfig, config: ModelConfig, device: jax.Device) -> ComputeConfig:
    """Return `compute` with what it leaves open ("auto", 0) decided for devices like `device`."""
    attention, block, tokens = compute.attention, compute.attention_block, compute.vocab_block
    if attention == "auto":
        fused = device.platform == "gpu" and compute.dtype == "bfloat16"
        lanes = device.platform == "tpu" and config.head_dim % LANES == 0
        elsewhere = "splash" if lanes else "cudnn" if fused else "blocked"
        attention = "rowwise" if device.platform == "cpu" else elsewhere
    if block == 0:
        splash = SPLASH_BLOCK.get(generation(device) or "", SHORT_BLOCK)
        block = {"splash": splash, "rowwise": ROWWISE_BLOCK}.get(attention, SHORT_BLOCK)
    if tokens == 0:
        fitting = MAX_LOGITS_ON_CPU // config.vocab_size
        on_cpu = min(max(fitting, 1), CPU_VOCAB_BLOCK)
        tokens = on_cpu if device.platform == "cpu" else VOCAB_BLOCK
    return dataclasses.replace(
        compute, attention=attention, attention_block=block, vocab_block=tokens
    )


def _draw_params(config: ModelConfig, key: Array) -> Params:
    """Cut all matrices from one stream of normal numbers: one generator to compile, not ten."""
    shapes, tree = jax.tree.flatten_with_path(abstract_params(config))
    is_matrix = ["norm" not in path[-1].key for path, _ in shapes]
    sizes = [
        shape.size if matrix else 0 for (_, shape), matrix in zip(shapes, is_matrix, strict=True)
    ]
    keys = jax.random.split(key, -(-sum(sizes) // DRAW_CHUNK))
    normal = jax.lax.map(lambda key: jax.random.normal(key, (DRAW_CHUNK,)), keys).reshape(-1)
    ends = np.cumsum(sizes)
    return jax.tree.unflatten(
        tree,
        [
            normal[end - size : end].reshape(shape.shape) * config.initializer_range
            if matrix
            else jnp.ones(shape.shape, shape.dtype)
            for (_, shape), matrix, size, end in zip(shapes, is_matrix, sizes, ends, strict=True)
        ],
    )


def _empty(*shape: int) -> nnx.Param:
    return nnx.Param(jnp.zeros(shape))
