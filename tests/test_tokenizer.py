"""The tokenizer: the same ids from three libraries, lossless, and short on LAMMPS scripts."""

import json

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mdx.chat import SPECIAL_TOKENS, task_messages
from mdx.errors import UsageError
from mdx.tasks.task import Task
from mdx.tokenizer import Tokenizer, lammps_words, train_tokenizer

COMMANDS = (
    "units metal",
    "lattice fcc 3.615",
    "region box block 0 4 0 4 0 4",
    "create_box 1 box",
    "create_atoms 1 box",
    "pair_style eam/alloy",
    "pair_coeff * * Cu_mishin1.eam.alloy Cu",
    "velocity all create 300 4928",
    "fix 1 all nvt temp 300 300 0.1",
    "minimize 1e-10 1e-10 1000 10000",
    "thermo 50",
    "run 200",
)
PROMPTS = (
    "Simulate copper in the NVT ensemble at 300 K for 200 steps.",
    "在 300 K 下对铜做 200 步分子动力学模拟。",
    "def f(x):\n        return x\n\n\n----------\n",
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(corpus(), str(folder), vocab_size=640)
    return folder


def corpus():
    for i in range(200):
        yield "\n".join(COMMANDS[i % 3 :]).replace("300", str(100 + i)) + "\n"
        yield PROMPTS[i % 3]


@pytest.fixture(scope="module")
def tokenizer(directory):
    return Tokenizer.load(str(directory))


@pytest.fixture(scope="module")
def processor(directory):
    return sentencepiece.SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))


@pytest.fixture(scope="module")
def from_transformers(directory):
    transformers = pytest.importorskip("transformers")
    # a model's own directory: the type of the model must not change the tokenizer
    (directory / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    return transformers.AutoTokenizer.from_pretrained(str(directory))


fragments = st.one_of(
    st.sampled_from([*COMMANDS, *PROMPTS, *SPECIAL_TOKENS]),
    st.sampled_from([" ", "  ", "\n", "\n\n", "\t", "\r\n", "0", " 7", "e-10", "<unk>", "<0x0A>"]),
    st.text(max_size=6),
    st.integers(0, 40).map(lambda n: " " * n),
    st.sampled_from(["分子动力学", "🙂👩‍🔬", "é", "e\u0301", "\x00", "--", "---", "* *"]),
)
# U+2581 is SentencePiece's own mark for a space, and lone surrogates are no text
texts = st.lists(fragments, max_size=8).map("".join).filter(lambda text: "\u2581" not in text)


@settings(deadline=None)
@given(texts)
@example("")
@example("".join(f" {n}" for n in range(300)))
def test_ids_are_those_of_sentencepiece_and_decode_to_the_same_text(tokenizer, processor, text):
    ids = tokenizer.encode(text)
    assert ids == processor.encode(text)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@settings(deadline=None)
@given(texts)
def test_transformers_gives_the_same_ids_and_text(tokenizer, from_transformers, text):
    ids = from_transformers.encode(text)
    assert ids == tokenizer.encode(text)
    assert from_transformers.decode(ids) == text


def test_transformers_finds_the_special_tokens_and_the_template(tokenizer, from_transformers):
    assert from_transformers.eos_token == "<|im_end|>"
    assert from_transformers.pad_token == "<|endoftext|>"
    assert from_transformers.eos_token_id == tokenizer.eos_id
    assert from_transformers.pad_token_id == tokenizer.pad_id
    assert tokenizer.eos_id != tokenizer.pad_id
    assert set(from_transformers.all_special_tokens) == set(SPECIAL_TOKENS)
    messages = task_messages(Task(id="t", family="f", prompt="Melt gold."))
    assert from_transformers.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    ) == ("<|im_start|>user\nMelt gold.<|im_end|>\n<|im_start|>assistant\n")


def test_decoding_leaves_special_tokens_out(tokenizer):
    ids = tokenizer.encode("run 10<|im_end|>")
    assert ids[-1] == tokenizer.eos_id
    assert tokenizer.decode(ids) == "run 10"


def test_every_digit_is_one_token_and_brings_the_space_before_it(tokenizer):
    ids = tokenizer.encode(" 300 3.615")
    assert [tokenizer.decode([i]) for i in ids] == [" 3", "0", "0", " 3", ".", "6", "1", "5"]


def test_a_command_is_one_token_with_the_line_break_before_it(tokenizer):
    ids = tokenizer.encode("\nvelocity all create 300")
    assert tokenizer.decode(ids[:1]) == "\nvelocity all create"


def test_a_batch_is_encoded_as_its_texts_are(tokenizer):
    texts = [*COMMANDS, *PROMPTS, ""]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_training_twice_writes_the_same_bytes(directory, tmp_path):
    train_tokenizer(corpus(), str(tmp_path), vocab_size=640)
    for name in ("tokenizer.model", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes()


def test_a_corpus_too_large_to_be_read_whole_gives_one_tokenizer_for_one_seed(tmp_path):
    for name, seed in (("first", 1), ("same", 1), ("other", 2)):
        train_tokenizer(corpus(), str(tmp_path / name), 640, seed=seed, max_chunks=400)
    first, same, other = (
        (tmp_path / name / "tokenizer.model").read_bytes() for name in ("first", "same", "other")
    )
    assert first == same != other


def test_a_small_corpus_gives_fewer_pieces_than_asked(tmp_path):
    train_tokenizer(["units metal\nrun 10\n"], str(tmp_path), vocab_size=2048)
    tokenizer = Tokenizer.load(str(tmp_path))
    assert tokenizer.vocab_size < 500
    assert tokenizer.decode(tokenizer.encode("units lj 分")) == "units lj 分"


@pytest.mark.parametrize(("texts", "vocab_size"), [(["units metal"], 100), ([], 640)])
def test_what_no_tokenizer_can_be_trained_on_is_a_usage_error(tmp_path, texts, vocab_size):
    with pytest.raises(UsageError, match=r"vocab_size|no tokenizer"):
        train_tokenizer(texts, str(tmp_path), vocab_size=vocab_size)


def test_a_directory_without_a_tokenizer_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"tokenizer\.json"):
        Tokenizer.load(str(tmp_path))


def test_lammps_names_are_kept_whole_where_that_is_asked_for(tmp_path):
    names = lammps_words(corpus(), at_least=5)
    assert {"pair_style", "pair_coeff", "eam/alloy"} <= set(names)
    assert "run" not in names
    train_tokenizer(corpus(), str(tmp_path), vocab_size=640, whole=names)
    tokenizer = Tokenizer.load(str(tmp_path))
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    other = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(str(tmp_path))
    for text in (
        "pair_style eam/alloy\npair_coeff * * Cu.eam/alloy/omp xpair_styles",
        "在pair_style后 🙂 \x00\t pair_style",
        " 1234567890" * 10_000,
        *COMMANDS,
    ):
        ids = tokenizer.encode(text)
        assert ids == model.encode(text) == other.encode(text)
        assert tokenizer.decode(ids) == text
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("pair_style eam/alloy")]
    assert "pair_style" in pieces
    assert "eam/alloy" in pieces
