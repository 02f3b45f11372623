"""A model's shape (`ModelConfig`), how it is computed (`ComputeConfig`), adapters (`LoraConfig`).

`ModelConfig` keeps Hugging Face's field names, so `config.json` and ours say the same thing.
`ComputeConfig` never changes the mathematics: only speed, memory and rounding.
"""

from dataclasses import dataclass, field

from mdx.errors import ConfigError
from mdx.model.rope import RopeScaling


@dataclass(frozen=True, kw_only=True)
class PositionConfig:
    """How a model tells positions apart."""

    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    max_position_embeddings: int = 2048


@dataclass(frozen=True, kw_only=True)
class ModelConfig(PositionConfig):
    """The shape of a Qwen3-style decoder; the defaults are the 1.9 M-parameter model."""

    vocab_size: int = 1536
    hidden_size: int = 192
    intermediate_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 48
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
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


REMATS = ("none", "minimal", "most", "attention", "full")
ATTENTION = ("auto", "rowwise", "blocked", "splash", "xla", "cudnn")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How the model is computed.

    dtype: of activations and matrix products ("float32", "bfloat16"); weights stay float32, and
        softmax, norms, log-probabilities and accumulation are float32 always.
    attention: "rowwise" (CPU), "blocked" (any device), "splash" (TPU), "xla", "cudnn" (GPU,
        bfloat16), or "auto", which asks the device.
    attention_block: queries per block of the first three ("rowwise": at least), 0 for the device's
        best; blocks that no query sees are skipped.
    remat: what the backward pass finds kept beside the layers' inputs: "none" (all), "minimal"
        (what all projections give, and attention), "most" (the same but attention's output
        projection), "attention" ("minimal" but what the MLP's give) or "full" (nothing).
    scan_layers: True compiles one layer for any depth; False unrolls, faster on CPUs.
    vocab_block: tokens whose logits exist on a device at one time, 0 for the device's best.
    """

    dtype: str = "float32"
    attention: str = "auto"
    attention_block: int = 0
    remat: str = "none"
    scan_layers: bool = False
    vocab_block: int = 0

    def __post_init__(self) -> None:
        _require("dtype", self.dtype, ("float32", "bfloat16"))
        _require("attention", self.attention, ATTENTION)
        _require("remat", self.remat, REMATS)
        for name in ("attention_block", "vocab_block"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.attention == "cudnn" and self.dtype != "bfloat16":
            raise ConfigError("attention=cudnn needs dtype=bfloat16, not float32")


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Adapters trained beside frozen weights: y = x W + (alpha / rank) (x A) B.

    Reference: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".

    rank: inner dimension of A B; 0 trains all weights instead.
    targets: projections that get an adapter, by their Hugging Face names.
    base_dtype: of the frozen weights; adapters are float32.
    adapter: a PEFT directory to start from, of the same rank, alpha and targets; empty: new ones.
    """

    rank: int = 0
    alpha: float = 32.0
    targets: tuple[str, ...] = LORA_TARGETS
    base_dtype: str = "bfloat16"
    adapter: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))  # a list where it came from YAML
        _require("lora.base_dtype", self.base_dtype, ("float32", "bfloat16"))
        if self.rank < 0 or self.alpha <= 0:
            raise ConfigError(
                "lora.rank must be 0 or more and lora.alpha above 0, not "
                f"{self.rank} and {self.alpha}"
            )
        for target in self.targets:
            _require("each of lora.targets", target, LORA_TARGETS)
        if self.rank and not self.targets:
            raise ConfigError("lora.targets must name at least one projection where lora.rank > 0")

    @property
    def scale(self) -> float:
        """What the product of the adapters is multiplied by."""
        return self.alpha / self.rank if self.rank else 0.0

    def has(self, target: str) -> bool:
        """Tell whether the projection `target` has an adapter."""
        return self.rank > 0 and target in self.targets


def _require(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}")
