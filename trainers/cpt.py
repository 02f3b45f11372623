"""Continued pre-training: the model reads MD-Knowledge and learns to predict every next token.

    mdx-train cpt --config configs/tiny/cpt.yaml run_dir=runs/cpt

Starts from random weights, or from the Hugging Face directory `init_from`. The result is in
`<run_dir>/export`. The same command resumes what was killed, and does nothing once it is done.
"""

from dataclasses import dataclass, field

from mdx.data.pipeline import mixed_batches
from mdx.model.config import ComputeConfig, LoraConfig, ModelConfig
from mdx.model.sharding import MeshConfig
from trainers.checkpoint import CheckpointConfig
from trainers.loop import DataConfig
from trainers.optim import OptimConfig
from trainers.policy import describe_policy
from trainers.run_dir import claim_run_dir, is_complete
from trainers.stage import local_rows_of, train_next_token


@dataclass(frozen=True, kw_only=True)
class CptConfig:
    """A run of continued pre-training."""

    run_dir: str = "runs/cpt"
    init_from: str = ""  # a Hugging Face directory; empty: random weights of the shape `model`
    seed: int = 0  # of the weights and of the order of the data
    model: ModelConfig = field(default_factory=ModelConfig)  # unused where init_from is given
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


def run(config: CptConfig) -> str:
    """Train to `optim.num_steps`, export, and return `run_dir`.

    Raises UsageError for directories that do not fit, StoppedError after SIGTERM.
    """
    claim_run_dir(config.run_dir, config)
    if is_complete(config.run_dir, config.optim.num_steps):
        return config.run_dir
    policy = describe_policy(
        config.model,
        config.compute,
        config.lora,
        init_from=config.init_from,
        tokenizer_dir=config.data.tokenizer_dir,
    )
    batches = mixed_batches(
        config.data.sources({"md_knowledge": 1.0}),
        policy.tokenizer_dir,
        split="train",
        batch_size=config.data.batch_size,
        seq_len=config.data.seq_len,
        seed=config.seed,
        local_rows=local_rows_of(config, policy),
    )
    train_next_token(config, policy, batches, stage="cpt")
    return config.run_dir
