"""What a corpus is built from and how strictly: the configuration of `mdx-data corpus`."""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a file is, which decides its reader."""

    RST = "rst"
    HTML = "html"
    MARKDOWN = "markdown"
    PDF = "pdf"
    LAMMPS_INPUT = "lammps_input"
    LAMMPS_LOG = "lammps_log"
    PYTHON = "python"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One folder (or file) of texts under one licence.

    `kinds` and `patterns` (shell patterns of paths below `path`) narrow what is read; empty lists
    mean all. `manual` says that the reStructuredText pages are LAMMPS's manual: questions for
    MD-InstructQA are made from them.
    """

    name: str
    path: str
    licence: str
    kinds: list[str] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    manual: bool = False


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """What one file may cost. A file beyond a limit is reported and skipped."""

    max_file_bytes: int = 50_000_000
    max_text_chars: int = 5_000_000  # of the text inside, after decompression
    max_line_chars: int = 20_000
    max_seconds: float = 60.0  # CPU time
    max_memory_bytes: int = 2_000_000_000  # address space of a reading process
    max_log_chars: int = 12_000  # a LAMMPS log is thinned to about this
    max_documents: int = 100_000  # files of one source


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """What a document must look like. Shares are of characters or lines, in [0, 1]."""

    languages: list[str] = field(default_factory=lambda: ["en", "zh"])  # all if empty
    min_words: int = 20
    max_symbol_share: float = 0.45  # characters that are no letter, digit or space
    max_number_share: float = 0.6  # digits among letters and digits
    max_repeated_line_share: float = 0.5
    max_repeated_ngram_share: float = 0.6  # words inside repeated runs of 8 words
    max_mean_line_chars: float = 4_000.0


@dataclass(frozen=True, kw_only=True)
class DuplicateConfig:
    """When two documents are the same: shingles of `shingle_words` words, MinHash and LSH."""

    threshold: float = 0.8  # Jaccard similarity from which the later document is dropped
    num_permutations: int = 128
    shingle_words: int = 5


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Which files no document may repeat: JSON, JSONL or text.

    A document is dropped where it holds at least `max_share` of the `ngram_words`-word runs of any
    text of a benchmark; a text shorter than that must occur as a whole.
    """

    files: list[str] = field(default_factory=list)
    ngram_words: int = 10
    max_share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Which model behind an OpenAI-compatible endpoint writes further questions, and its price.

    Without `base_url` none does. Every answer is kept in `out_dir/distilled.jsonl` and never paid
    for twice.
    """

    base_url: str = ""  # such as http://localhost:8000/v1
    model: str = ""
    api_key_env: str = "OPENAI_API_KEY"  # the environment variable that holds the key, if any
    questions_per_page: int = 4
    max_pages: int = 0  # the first pages of the manual; 0: all
    max_page_chars: int = 24_000  # of a page that are sent
    max_new_tokens: int = 2_000
    max_concurrent: int = 8  # requests under way at once
    max_retries: int = 5  # of a request that failed for a passing reason, with growing pauses
    timeout_s: float = 120.0
    usd_per_million_in: float = 0.0
    usd_per_million_out: float = 0.0


@dataclass(frozen=True, kw_only=True)
class QuestionConfig:
    """Which questions to make from the manual."""

    max_facts_per_kind: int = 0  # a larger kind (errors, packages, ...) is sampled; 0: all
    chinese: bool = True
    num_options: int = 4
    distill: DistillConfig = field(default_factory=DistillConfig)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How much is held out, in percent of the families of documents and of the facts asked for."""

    validation_percent: int = 2
    test_percent: int = 2


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    """Which tokenizer counts tokens: a Hugging Face directory, else one trained on the corpus.

    `vocab_size: 0` trains none: then only words, numbers and symbols are counted.
    """

    tokenizer_dir: str = ""
    vocab_size: int = 8192


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """What `mdx-data corpus` builds. Relative paths of sources start at `root`."""

    out_dir: str = "data/corpus"
    root: str = "."
    seed: int = 0
    sources: list[SourceConfig] = field(default_factory=list)
    split: SplitConfig = field(default_factory=SplitConfig)
    count: CountConfig = field(default_factory=CountConfig)
    num_workers: int = 0  # reading processes; 0: one a core
    limits: ReadLimits = field(default_factory=ReadLimits)
    filters: FilterConfig = field(default_factory=FilterConfig)
    duplicates: DuplicateConfig = field(default_factory=DuplicateConfig)
    benchmarks: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    questions: QuestionConfig = field(default_factory=QuestionConfig)
