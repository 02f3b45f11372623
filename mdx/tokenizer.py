"""The tokenizer: a small SentencePiece BPE, exported as a Hugging Face directory.

`train_tokenizer` learns the pieces and writes the directory that travels with every model:

    tokenizer.model          SentencePiece's own model, for whoever wants it
    tokenizer.json           the same merges for the `tokenizers` library: MDX reads this one
    tokenizer_config.json    special tokens, for transformers
    chat_template.jinja      `mdx.chat.CHAT_TEMPLATE`

A small model pays for every token, so a piece may hold several lower-case words and the line break
before them (`velocity all create`). Names with capitals or dots (`Cu_u3.eam`, `Si`) stay apart from
their surroundings, so that they are copied whole. Each digit is a piece of its own, with or without
the space before it, so that numbers are copied and changed digit by digit.

Nothing is normalised, no prefix is added and what has no piece falls back to bytes:
`decode(encode(text)) == text` for every text, but for U+2581, SentencePiece's mark for a space,
which comes back as a space. Special tokens written out in a text are read as special tokens.

Not here: other tokenizers. A pretrained model brings its own Hugging Face directory, which
`Tokenizer.load` reads just the same.
"""

import io
import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

import tokenizers
from tokenizers import decoders, normalizers
from tokenizers.models import BPE

from mdx.chat import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, SPECIAL_TOKENS, START_OF_TURN
from mdx.errors import UsageError
from mdx.lammps.commands import known_styles

_SPACE = "\u2581"  # SentencePiece writes a space as this
_UNKNOWN = "<unk>"  # never produced, thanks to byte fallback; both libraries insist on it
_DIGITS_AFTER_SPACE = tuple(_SPACE + digit for digit in string.digits)
_ASCII = string.ascii_letters + string.digits + string.punctuation + "\n"
_MAX_PIECE_CHARACTERS = 48
_MAX_CHUNKS = 1_000_000  # a larger corpus is sampled

# No piece is learned across the border of two chunks: a fence, plain lower-case words with the line
# break before them, a single name, Chinese text, white space, punctuation.
_CHUNK = re.compile(
    r"\n?```[a-z]*"
    r"|\n*(?: ?[a-z_/*]+)+(?![A-Za-z0-9.])"
    r"| ?[A-Za-z0-9_]+(?:[.+/-][A-Za-z0-9_]+)*"
    r"| ?[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]+"
    r"|\s+"
    r"|[^\sA-Za-z0-9_]+"
)
_NAME = re.compile(r"[a-z0-9]+(?:[_/][a-z0-9]+)+")
SMALLEST_VOCABULARY = 384  # bytes, special tokens, ASCII and a few merges


class Tokenizer:
    """Text to token ids and back. `load` reads any Hugging Face directory that has an EOS.

    Without a PAD of its own, EOS pads, too: what is a target is marked by position and never by
    token, so EOS is learnt all the same.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, eos_token: str, pad_token: str):
        self._backend = backend
        self.eos_id = _token_id(backend, eos_token)  # ends a turn, and with it a completion
        self.pad_id = _token_id(backend, pad_token)
        self.vocab_size: int = backend.get_vocab_size()

    @classmethod
    def load(cls, directory: str) -> "Tokenizer":
        """Read `directory`; raises UsageError where a file or a special token is missing."""
        folder = Path(directory)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if not (folder / name).is_file():
                raise UsageError(f"a tokenizer directory needs {name}, but {folder} has none")
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        eos = _content(config.get("eos_token"))
        # Base models of the Qwen family end documents with their EOS, but turns with END_OF_TURN.
        if backend.token_to_id(END_OF_TURN) is not None:
            eos = END_OF_TURN
        if not eos:
            raise UsageError(f"a tokenizer must name its eos_token, but that in {folder} does not")
        return cls(backend, eos_token=eos, pad_token=_content(config.get("pad_token")) or eos)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`. Nothing is added; special tokens in the text are recognised."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def count(self, text: str) -> int:
        """Return how many tokens `text` has."""
        return len(self.encode(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `encode` of each text, several at a time."""
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of `ids`, by default without special tokens such as the final EOS."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)


def train_tokenizer(
    texts: Iterable[str],
    out_dir: str,
    vocab_size: int,
    seed: int = 0,
    whole: Sequence[str] = (),
    max_chunks: int = _MAX_CHUNKS,
) -> None:
    """Learn `vocab_size` pieces from `texts` and write the Hugging Face directory `out_dir`.

    `whole` are words that are one piece each wherever they occur (see `lammps_words`).
    The result depends only on the arguments. `seed` matters only for corpora of more than
    `max_chunks` chunks (about a word each), of which so many are sampled. A small corpus gives
    fewer pieces than `vocab_size`. Raises UsageError where vocab_size is below 384 or there is no
    text.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise UsageError(f"vocab_size must be at least {SMALLEST_VOCABULARY}, not {vocab_size}")
    # SentencePiece would sample too, but another sample in every process, whatever its seed
    chunks = _sample(_chunks(texts), max_chunks, Random(seed))
    model = _train_sentencepiece(chunks, vocab_size, whole)
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model)
    _to_backend(model, whole).save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "extra_special_tokens": [START_OF_TURN],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1 << 20,
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def lammps_words(texts: Iterable[str], at_least: int = 20) -> list[str]:
    """Return LAMMPS's commands and styles of several parts that `texts` use so often, sorted.

    Those with an underscore or a slash (pair_style, lj/cut): the others are words of prose, too,
    and as pieces would cut other words in two.
    """
    names = set().union(*known_styles().values())
    counts = Counter(word for text in texts for word in _NAME.findall(text) if word in names)
    return sorted(word for word, count in counts.items() if count >= at_least)


def _train_sentencepiece(chunks: Sequence[str], vocab_size: int, whole: Sequence[str]) -> bytes:
    import sentencepiece  # only training needs it

    sentencepiece.set_min_log_level(2)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(chunks),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=0.9999,
            byte_fallback=True,
            split_digits=True,
            split_by_whitespace=False,
            split_by_unicode_script=False,
            allow_whitespace_only_pieces=True,
            max_sentencepiece_length=_MAX_PIECE_CHARACTERS,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            shuffle_input_sentence=False,
            user_defined_symbols=[*SPECIAL_TOKENS, *_DIGITS_AFTER_SPACE, *whole],
            required_chars=_ASCII,
            unk_id=len(SPECIAL_TOKENS),
            unk_piece=_UNKNOWN,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
        )
    except RuntimeError as error:
        raise UsageError(f"no tokenizer can be trained on these texts: {error}") from error
    return model.getvalue()


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    """Yield the chunks of `texts`, between which no piece is learned."""
    special = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))
    for text in texts:
        for part in special.split(text):
            yield from _CHUNK.findall(part)


def _sample(chunks: Iterable[str], size: int, rng: Random) -> list[str]:
    """Return `size` of `chunks`, each as likely as any other, or all if there are fewer."""
    kept: list[str] = []
    for seen, chunk in enumerate(chunks):
        if seen < size:
            kept.append(chunk)
        elif (place := rng.randrange(seen + 1)) < size:
            kept[place] = chunk
    return kept


def _to_backend(model: bytes, whole: Sequence[str] = ()) -> tokenizers.Tokenizer:
    """Return the `tokenizers` BPE that gives the ids of the SentencePiece `model`."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    learned = {
        piece: i
        for i, piece in enumerate(pieces)
        if piece not in SPECIAL_TOKENS
        and not (processor.is_byte(i) or processor.is_unknown(i) or processor.is_control(i))
    }
    backend = tokenizers.Tokenizer(
        BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=_merges(learned),
            unk_token=_UNKNOWN,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Replace(" ", _SPACE)
    backend.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    backend.add_tokens([tokenizers.AddedToken(word, normalized=False) for word in whole])
    return backend


def _merges(learned: dict[str, int]) -> list[tuple[str, str]]:
    """Return every way to join two pieces into a third, the pieces learned first in front.

    SentencePiece joins the neighbours whose union was learned first, however the two came about;
    `tokenizers` wants those pairs listed.
    """
    return [
        (piece[:cut], piece[cut:])
        for piece, _ in sorted(learned.items(), key=lambda item: item[1])
        for cut in range(1, len(piece))
        if piece[:cut] in learned and piece[cut:] in learned
    ]


def _token_id(backend: tokenizers.Tokenizer, token: str) -> int:
    token_id = backend.token_to_id(token)
    if token_id is None:
        raise UsageError(f"the tokenizer must know its special token {token!r}, but does not")
    return token_id


def _content(token: str | dict[str, str] | None) -> str:
    """Return a special token's text, a string or an object; empty where it has none."""
    return token["content"] if isinstance(token, dict) else token or ""
