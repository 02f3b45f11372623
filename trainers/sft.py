"""Supervised fine-tuning: the model reads conversations and learns to say what the assistant says.

    mdx-train sft --config configs/tiny/sft.yaml run_dir=runs/sft init_from=runs/cpt/export

Only what the assistant writes is a target, up to and including the token that ends its turn; the
rest is read. The result is in `<run_dir>/export`. The same command resumes what was killed, and
does nothing once it is done.
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
class SftConfig:
    """A run of supervised fine-tuning."""

    run_dir: str = "runs/sft"
    init_from: str = "runs/cpt/export"  # a Hugging Face directory; empty: random weights of `model`
    seed: int = 0  # of the weights and of the order of the data
    qa_share: float = 0.1  # of the conversations, from MD-InstructQA; the others are scripts
    model: ModelConfig = field(default_factory=ModelConfig)  # unused where init_from is given
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


def run(config: SftConfig) -> str:
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
    shares = {"md_code_gen": 1.0 - config.qa_share, "md_instruct_qa": config.qa_share}
    batches = mixed_batches(
        config.data.sources(shares),
        policy.tokenizer_dir,
        split="train",
        batch_size=config.data.batch_size,
        seq_len=config.data.seq_len,
        seed=config.seed,
        local_rows=local_rows_of(config, policy),
    )
    train_next_token(config, policy, batches, stage="sft")
    return config.run_dir
