"""The models of a benchmark as Hugging Face directories: random weights, a word-level tokenizer.

Whether completions end by themselves is a matter of the weights, so that every sampler meets it
the same way: embeddings share one large component, the final norm keeps it, and the end-of-text
token's own differs by what makes its probability 1 in 40, or next to nothing.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.shapes import EOS, PAD, Shape

COMMON = 0.3  # component 0 of every embedding
END_SHIFT = {False: -20.0, True: 5.25}  # of the end-of-text token's component 0, over COMMON


def write_model(shape: Shape, folder: Path) -> Path:
    """Write `folder`/`shape.name` and return it."""
    out = folder / shape.name
    out.mkdir(parents=True, exist_ok=True)
    save_file(_weights(shape), out / "model.safetensors", metadata={"format": "pt"})
    _write_tokenizer(shape, out)
    special = {"eos_token_id": EOS, "pad_token_id": PAD}
    (out / "generation_config.json").write_text(json.dumps(special))
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    }
    (out / "config.json").write_text(json.dumps(config | special))
    return out


def _weights(shape: Shape) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    D, H, F = shape.hidden_size, shape.head_dim, shape.intermediate_size
    N, G = shape.num_attention_heads, shape.num_key_value_heads

    def normal(*size: int) -> np.ndarray:
        return rng.standard_normal(size, dtype=np.float32) * np.float32(0.02)

    embedding = normal(shape.vocab_size, D)
    embedding[:, 0] = COMMON
    embedding[EOS, 0] += END_SHIFT[shape.ends]
    weights = {"model.embed_tokens.weight": embedding, "model.norm.weight": np.ones(D, np.float32)}
    for layer in range(shape.num_hidden_layers):
        name = f"model.layers.{layer}"
        matrices = {
            "self_attn.q_proj": (N * H, D),
            "self_attn.k_proj": (G * H, D),
            "self_attn.v_proj": (G * H, D),
            "self_attn.o_proj": (D, N * H),
            "mlp.gate_proj": (F, D),
            "mlp.up_proj": (F, D),
            "mlp.down_proj": (D, F),
        }
        norms = {
            "input_layernorm": D,
            "post_attention_layernorm": D,
            "self_attn.q_norm": H,
            "self_attn.k_norm": H,
        }
        weights |= {f"{name}.{key}.weight": normal(*size) for key, size in matrices.items()}
        weights |= {f"{name}.{key}.weight": np.ones(n, np.float32) for key, n in norms.items()}
    return weights


def _write_tokenizer(shape: Shape, out: Path) -> None:
    names = {PAD: "<pad>", EOS: "<eos>", 2: "<unk>"}
    vocabulary = {names.get(i, f"w{i}"): i for i in range(shape.vocab_size)}
    added = [
        {
            "id": i,
            "content": name,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for i, name in names.items()
    ]
    tokenizer = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
        "truncation": None,
        "padding": None,
    }
    (out / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config))
