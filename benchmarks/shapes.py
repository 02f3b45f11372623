"""What every contestant of a benchmark computes: shapes, inputs and lengths. NumPy only.

The peers live in virtual environments without MDX's dependencies, so this module imports nothing
but NumPy. All inputs are drawn from one seed; all contestants see the same.
"""

from dataclasses import dataclass

import numpy as np

PAD, EOS, FIRST_WORD = 0, 1, 3  # token ids
SEQ_LEN, NUM_ROWS = 512, 8  # of a training step
NUM_DOCUMENTS, SHORTEST = 64, 62  # lengths up to SEQ_LEN; padded, they fill 56 % of their rows
NUM_PROMPTS, PROMPT_TOKENS = 16, 64  # of sampling
GROUPS, GROUP_SIZE = 8, 4  # of a GRPO step
LEARNING_RATE = 1e-9  # every update is computed and none changes how long completions are
MEAN_RAGGED = 40  # tokens, of completions of at most 128


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen3 decoder; the default has 4.2 M parameters."""

    name: str
    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    ends: bool = False  # whether completions end by themselves, after about MEAN_RAGGED tokens


@dataclass(frozen=True, kw_only=True)
class Work:
    """One line of the table: what is done in a repetition, and with which model."""

    name: str
    title: str
    shape: Shape
    max_new_tokens: int = 0
    num_samples: int = 1  # completions of each prompt
    measure: str = "tokens"  # what is compared: "tokens" per second, "compile" time or "memory"
    num_rows: int = NUM_ROWS
    in_a_row: int = 1  # times that it is done in a turn; a repetition is their mean


SMALL = Shape(name="small")
RAGGED = Shape(name="ragged", ends=True)
DEEP = Shape(name="deep", num_hidden_layers=28)
WIDE = Shape(name="wide", vocab_size=151_936)

WORKS = {
    work.name: work
    for work in (
        Work(name="sft_full", title="SFT step, 8 x 512, full rows", shape=SMALL, in_a_row=4),
        Work(
            name="sft_56",
            title="SFT step, documents that fill 56 % of 8 x 512",
            shape=SMALL,
            in_a_row=4,
        ),
        Work(
            name="generate_full",
            title="generate 16 x (64 + 256)",
            shape=SMALL,
            max_new_tokens=256,
        ),
        Work(
            name="generate_ragged",
            title="generate 16 x 4 x (64 + 128 at most, 40 on average)",
            shape=RAGGED,
            max_new_tokens=128,
            num_samples=4,
        ),
        Work(
            name="grpo_full",
            title="GRPO step, 8 x 4, 64 + 128",
            shape=SMALL,
            max_new_tokens=128,
            num_samples=GROUP_SIZE,
        ),
        Work(
            name="grpo_ragged",
            title="GRPO step, 8 x 4, 64 + 128 at most, 40 on average",
            shape=RAGGED,
            max_new_tokens=128,
            num_samples=GROUP_SIZE,
        ),
        Work(
            name="compile_4",
            title="compile an SFT step, 4 layers",
            shape=SMALL,
            num_rows=2,
            measure="compile",
        ),
        Work(
            name="compile_28",
            title="compile an SFT step, 28 layers",
            shape=DEEP,
            num_rows=2,
            measure="compile",
        ),
        Work(
            name="memory",
            title="temporary memory of an SFT step, vocabulary 151,936, 2 x 512",
            shape=WIDE,
            num_rows=2,
            measure="memory",
        ),
    )
}

# Which works some contestants have no part in, and why.
PACKS_ONLY = "it is TRL with packing, and only documents of several lengths are packed"
NO_PART: dict[str, dict[str, str]] = {
    "trl": dict.fromkeys(("compile_4", "compile_28"), "torch runs eagerly and compiles nothing"),
    "trl-packed": dict.fromkeys(set(WORKS) - {"sft_56"}, PACKS_ONLY),
    "torch": dict.fromkeys(set(WORKS) - {"sft_full", "memory"}, "it is a loop over full rows"),
}


def full_rows(work: Work) -> np.ndarray:
    """Return tokens [num_rows, SEQ_LEN], int32."""
    return _words(np.random.default_rng(0), work.shape, (work.num_rows, SEQ_LEN))


def documents(work: Work) -> list[np.ndarray]:
    """Return documents whose mean length is 56 % of SEQ_LEN."""
    rng = np.random.default_rng(1)
    lengths = np.linspace(SHORTEST, SEQ_LEN, NUM_DOCUMENTS).round().astype(int)
    rng.shuffle(lengths)
    return [_words(rng, work.shape, (length,)) for length in lengths]


def prompts(work: Work, count: int) -> list[list[int]]:
    """Return `count` prompts of PROMPT_TOKENS tokens."""
    return _words(np.random.default_rng(2), work.shape, (count, PROMPT_TOKENS)).tolist()


def text_of(tokens: list[int]) -> str:
    """Return the text that the benchmark's tokenizer turns into `tokens`: one word a token."""
    return " ".join(f"w{token}" for token in tokens)


def reward_of(text: str) -> float:
    """Return a reward that differs between completions: it is the update's cost that matters."""
    word = text.split(" ", 1)[0]
    return float(word[1:]) % 10 if word[1:].isdigit() else 0.0


def _words(rng: np.random.Generator, shape: Shape, size: tuple[int, ...]) -> np.ndarray:
    return rng.integers(FIRST_WORD, shape.vocab_size, size, dtype=np.int32)
