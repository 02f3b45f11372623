"""The model that a stage starts from: its shape, its tokenizer and its placed weights.

With LoRA the weights of `init_from` are the frozen base: they are read anew whenever a run goes on,
and a fingerprint in `<run_dir>/base.json` makes sure that they are still the same.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, UInt32

from mdx.errors import ConfigError, UsageError
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.decoder import GraphDef, init, resolve, structure
from mdx.model.hf import load_hf
from mdx.model.hf_config import read_config
from mdx.model.lora import init_adapters
from mdx.model.peft import load_adapters
from mdx.model.sharding import shard_params
from mdx.tokenizer import Tokenizer
from trainers.run_dir import write_atomically

PyTree = Any
BASE = "base.json"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a model is without its weights."""

    model: ModelConfig
    compute: ComputeConfig  # nothing left open
    lora: LoraConfig
    graphdef: GraphDef
    tokenizer_dir: str


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The placed weights before the first step."""

    trained: PyTree  # what the state holds: all weights, or the adapters
    base: PyTree | None  # the frozen ones of LoRA


def describe_policy(
    model: ModelConfig,
    compute: ComputeConfig,
    lora: LoraConfig,
    *,
    init_from: str,
    tokenizer_dir: str,
) -> Policy:
    """Return the model of the directory `init_from`, or of `model` where that is empty.

    The tokenizer is that of `tokenizer_dir`, else that of `init_from`. Raises UsageError where a
    directory is missing or the vocabulary does not cover the tokenizer, ConfigError for LoRA
    without weights to start from.
    """
    if lora.rank and not init_from:
        raise ConfigError("lora.rank above 0 needs init_from: there is no use in random weights")
    if init_from:
        model = read_config(init_from)
    tokenizer_dir = tokenizer_dir or init_from
    if not tokenizer_dir:
        raise UsageError("data.tokenizer_dir must name a tokenizer's directory: init_from is empty")
    vocab_size = Tokenizer.load(tokenizer_dir).vocab_size
    if vocab_size > model.vocab_size:
        raise UsageError(
            f"the model's vocab_size must be at least the tokenizer's {vocab_size}, "
            f"not {model.vocab_size} (tokenizer: {tokenizer_dir})"
        )
    compute = resolve(compute, model, jax.devices()[0])
    return Policy(
        model=model,
        compute=compute,
        lora=lora,
        graphdef=structure(model, compute, lora),
        tokenizer_dir=tokenizer_dir,
    )


def start_weights(
    policy: Policy, mesh: Mesh, *, init_from: str, run_dir: str, key: jax.Array
) -> Weights:
    """Return the weights in `init_from`, or random ones drawn with `key` where that is empty.

    With LoRA these are the base, beside new adapters. Raises UsageError where `run_dir` was
    trained on another base.
    """
    if not policy.lora.rank:
        if init_from:
            return Weights(trained=load_hf(init_from, mesh=mesh)[2], base=None)
        return Weights(trained=shard_params(init(policy.model, key=key)[1], mesh), base=None)
    base = load_base(run_dir, policy.lora, init_from=init_from, mesh=mesh)
    if policy.lora.adapter:
        adapters = _trained_before(policy)
    else:
        adapters = init_adapters(policy.model, policy.lora, jax.random.fold_in(key, 1))
    return Weights(trained=shard_params(adapters, mesh), base=base)


def _trained_before(policy: Policy) -> PyTree:
    """Return the adapters in `lora.adapter`; raises UsageError where they are of another shape."""
    lora = policy.lora
    saved, adapters = load_adapters(lora.adapter, policy.model)
    for name, theirs, ours in (
        ("rank", saved.rank, lora.rank),
        ("alpha", saved.alpha, lora.alpha),
        ("targets", sorted(saved.targets), sorted(lora.targets)),
    ):
        if theirs != ours:
            raise UsageError(f"lora.{name} must be {theirs}, as in {lora.adapter}, not {ours}")
    return adapters


def load_base(
    run_dir: str, lora: LoraConfig, *, init_from: str, mesh: Mesh | None = None
) -> PyTree:
    """Return the frozen weights of the run in `run_dir`, in `lora.base_dtype`.

    Raises UsageError where they are not those that the run was started with.
    """
    base = load_hf(init_from, mesh=mesh, dtype=lora.base_dtype)[2]
    claim_base(run_dir, base, init_from=init_from)
    return base


def claim_base(run_dir: str, base: PyTree, *, init_from: str) -> None:
    """Write down the fingerprint of `base`, or check that it is the one written down.

    Raises UsageError where it is another one: the adapters in `run_dir` would not fit.
    """
    file, found = Path(run_dir) / BASE, fingerprint(base)
    if file.is_file():
        expected = json.loads(file.read_text(encoding="utf-8"))["fingerprint"]
        if found != expected:
            raise UsageError(
                f"the adapters in {run_dir} belong to weights with the fingerprint "
                f"{expected[:12]}, but those of init_from={init_from!r} have {found[:12]}: bring "
                "the old ones back, or use another run_dir"
            )
    elif jax.process_index() == 0:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"fingerprint": found, "init_from": init_from}) + "\n")


def fingerprint(params: PyTree) -> str:
    """Return 64 hexadecimal digits that change with any bit of any weight, or a name or shape.

    Every element's bits are multiplied by 2 place + 1 and summed modulo 2^32, so the result does
    not depend on how arrays are spread over devices and processes. Not proof against forgery.
    """
    sums = jax.device_get(jax.jit(lambda tree: jax.tree.map(_checksum, tree))(params))
    digest = hashlib.sha256()
    for (path, leaf), total in zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(sums), strict=True
    ):
        name = jax.tree_util.keystr(path)
        digest.update(f"{name} {leaf.dtype} {leaf.shape} {int(np.asarray(total))}\n".encode())
    return digest.hexdigest()


def _checksum(leaf: Array) -> UInt32[Array, ""]:
    kind = {2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(leaf, kind).astype(jnp.uint32)
    place = jnp.zeros(leaf.shape, jnp.uint32)
    for axis, size in enumerate(leaf.shape):
        place = place * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)
