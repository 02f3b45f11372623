"""The model that a stage starts from: its shape, its tokenizer and its placed weights."""

from dataclasses import dataclass
from typing import Any

import jax

from mdx.errors import UsageError
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import GraphDef, init, structure
from mdx.model.hf import load_hf, read_config
from mdx.tokenizer import Tokenizer

PyTree = Any


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a model is without its weights."""

    model: ModelConfig
    graphdef: GraphDef
    tokenizer_dir: str


def describe_policy(
    model: ModelConfig, compute: ComputeConfig, *, init_from: str, tokenizer_dir: str
) -> Policy:
    """Return the model of the directory `init_from`, or of `model` where that is empty.

    The tokenizer is that of `tokenizer_dir`, else that of `init_from`. Raises UsageError where a
    directory is missing or the vocabulary does not cover the tokenizer.
    """
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
    return Policy(model=model, graphdef=structure(model, compute), tokenizer_dir=tokenizer_dir)


def start_params(policy: Policy, *, init_from: str, key: jax.Array) -> PyTree:
    """Return the weights in `init_from`, or random ones drawn with `key` where that is empty."""
    if init_from:
        return load_hf(init_from)[2]
    return init(policy.model, key=key)[1]
