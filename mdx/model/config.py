"""What a model is (`ModelConfig`) and how it is computed (`ComputeConfig`).

`ModelConfig` keeps Hugging Face's field names, so `config.json` and ours say the same thing.
`ComputeConfig` never changes the mathematics: only speed, memory and rounding.
"""

from dataclasses import dataclass

from mdx.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a Qwen3-style decoder; the defaults are the 1.9 M-parameter model."""

    vocab_size: int = 1536
    hidden_size: int = 192
    intermediate_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 48
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                "num_attention_heads must be a multiple of num_key_value_heads, not "
                f"{self.num_attention_heads} and {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ConfigError(f"head_dim must be even for rotary positions, not {self.head_dim}")

    @property
    def num_parameters(self) -> int:
        """Count every weight once (a tied head is the embedding)."""
        heads = self.num_attention_heads + self.num_key_value_heads
        attention = 2 * self.hidden_size * self.head_dim * heads + 2 * self.head_dim
        mlp = 3 * self.hidden_size * self.intermediate_size
        layer = attention + mlp + 2 * self.hidden_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.num_hidden_layers * layer + self.hidden_size


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How the model is computed.

    dtype: of activations and matrix products ("float32", "bfloat16"); weights stay float32, and
        softmax, norms, log-probabilities and accumulation are float32 always.
    attention: "rowwise" (CPU), "blocked" (any device), "xla", "cudnn" (GPU, bfloat16), or "auto".
    attention_block: queries per block of the first two; blocks that no query sees are skipped.
    remat: "none", "minimal" (keep matrix products) or "full" (keep layer inputs only).
    scan_layers: True compiles one layer for any depth; False unrolls, faster on CPUs.
    vocab_block: tokens whose logits exist at one time in `token_logprobs`.
    """

    dtype: str = "float32"
    attention: str = "auto"
    attention_block: int = 128
    remat: str = "none"
    scan_layers: bool = False
    vocab_block: int = 1024

    def __post_init__(self) -> None:
        _require("dtype", self.dtype, ("float32", "bfloat16"))
        _require("attention", self.attention, ("auto", "rowwise", "blocked", "xla", "cudnn"))
        _require("remat", self.remat, ("none", "minimal", "full"))
        if self.attention == "cudnn" and self.dtype != "bfloat16":
            raise ConfigError("attention=cudnn needs dtype=bfloat16, not float32")


def _require(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}")
