"""Qwen3's dense family: configs/qwen3_*/config.json as published, and read as transformers does."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mdx.model.hf_config import read_config

CONFIGS = Path(__file__).parents[2] / "configs"
# hidden, ffn, layers, heads, tied, parameters and those outside the embeddings, in thousands of
# millions, as the model cards give them
PUBLISHED = {
    "0.6b": (1024, 3072, 28, 16, True, 0.6, 0.44),
    "1.7b": (2048, 6144, 28, 16, True, 1.7, 1.4),
    "4b": (2560, 9728, 36, 32, True, 4.0, 3.6),
    "8b": (4096, 12288, 36, 32, False, 8.2, 6.95),
    "14b": (5120, 17408, 40, 40, False, 14.8, 13.2),
    "32b": (5120, 25600, 64, 64, False, 32.8, 31.2),
}
SIZES = sorted(path.parent.name.removeprefix("qwen3_") for path in CONFIGS.glob("qwen3_*/*.json"))


def test_sizes_are_there():
    assert set(SIZES) <= PUBLISHED.keys()
    assert {"1.7b", "14b"} <= set(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_parameter_counts_are_those_published(size):
    hidden, ffn, layers, heads, tied, total, inner = PUBLISHED[size]
    config = read_config(str(CONFIGS / f"qwen3_{size}"))
    assert (config.hidden_size, config.intermediate_size) == (hidden, ffn)
    assert (config.num_hidden_layers, config.num_attention_heads) == (layers, heads)
    assert (config.num_key_value_heads, config.head_dim) == (8, 128)
    assert (config.vocab_size, config.max_position_embeddings) == (151_936, 40_960)
    assert (config.rope_theta, config.rms_norm_eps) == (1e6, 1e-6)
    assert config.tie_word_embeddings is tied
    embeddings = config.vocab_size * hidden * (1 if tied else 2)
    assert config.num_parameters / 1e9 == pytest.approx(total, abs=0.05)
    assert (config.num_parameters - embeddings) / 1e9 == pytest.approx(inner, abs=0.05)


@pytest.mark.parametrize("size", SIZES)
def test_transformers_counts_the_same_parameters(size):
    folder = CONFIGS / f"qwen3_{size}"
    assert json.loads((folder / "config.json").read_text())["model_type"] == "qwen3"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    assert model.num_parameters() == read_config(str(folder)).num_parameters
