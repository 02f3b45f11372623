"""`mdx-data`: build the data sets and the tokenizer, look at them, count them.

    mdx-data build --config configs/tiny/data.yaml out_dir=data/tiny
    mdx-data corpus --config configs/corpus.yaml out_dir=data/corpus
    mdx-data tokenizer --data data/tiny --out data/tiny/tokenizer --vocab-size 1024
    mdx-data show md_code_gen --data data/tiny --split test --num 2
    mdx-data stats --data data/tiny --tokenizer data/tiny/tokenizer --plot stats.png

The same build command goes on after a kill and returns at once when everything is there.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

import click

from mdx.cli import CommandGroup
from mdx.config import dump_config, load_config
from mdx.errors import UsageError
from trainers.check_families import check_families_command
from trainers.potentials_cli import potentials_command

_DATA_SETS = ("md_code_gen", "md_instruct_qa", "md_knowledge")
_data_option = click.option(
    "--data", "data_dir", required=True, help="Folder that `mdx-data build` wrote."
)


@click.group(cls=CommandGroup)
def main() -> None:
    """Build and inspect the data sets that models learn from."""


main.add_command(check_families_command)
main.add_command(potentials_command)


@main.command()
@click.option("--config", "path", metavar="FILE", help="YAML file; the rest has its default.")
@click.option("--print-config", is_flag=True, help="Print the merged configuration and exit.")
@click.option("--corpus", "corpus_path", metavar="FILE", help="Add this corpus (corpus.KEY=VALUE).")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def build(
    path: str | None, print_config: bool, corpus_path: str | None, overrides: tuple[str, ...]
) -> None:
    """Draw tasks, run every reference script, write MD-Knowledge, -InstructQA and -CodeGen."""
    from mdx.corpus.config import CorpusConfig
    from trainers.build_config import BuildConfig
    from trainers.build_data import run

    for_corpus = [o.removeprefix("corpus.") for o in overrides if o.startswith("corpus.")]
    if for_corpus and not corpus_path:
        raise UsageError(f"corpus.{for_corpus[0]} needs --corpus FILE, such as configs/corpus.yaml")
    config = load_config(BuildConfig, path, [o for o in overrides if not o.startswith("corpus.")])
    corpus = load_config(CorpusConfig, corpus_path, for_corpus) if corpus_path else None
    if print_config:
        click.echo(dump_config(config), nl=False)
        if corpus:
            click.echo(f"corpus:\n{indent(dump_config(corpus), '  ')}", nl=False)
        return
    manifest = run(config, corpus)
    _echo_manifest(manifest)
    _echo_tokens_of(manifest.get("corpus", {}).get("tokens"))
    click.echo(f"data sets are in {config.out_dir}")


@main.command()
@click.option("--config", "path", metavar="FILE", help="YAML file; the rest has its default.")
@click.option("--print-config", is_flag=True, help="Print the merged configuration and exit.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def corpus(path: str | None, print_config: bool, overrides: tuple[str, ...]) -> None:
    """Read folders of texts, keep what is good and new, write MD-Knowledge and -InstructQA."""
    from mdx.corpus.config import CorpusConfig

    config = load_config(CorpusConfig, path, overrides)
    if print_config:
        click.echo(dump_config(config), nl=False)
        return
    from trainers.build_corpus import run

    manifest = run(config)
    _echo_sizes(manifest)
    _echo_tokens_of(manifest["tokens"])
    click.echo(
        f"{manifest['num_documents']} documents of {manifest['num_files']} files are in "
        f"{config.out_dir}; report.md there says what was dropped and why"
    )


@main.command()
@_data_option
@click.option("--out", "out_dir", required=True, help="Hugging Face directory to write.")
@click.option("--vocab-size", default=1024, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--whole-words", is_flag=True, help="Frequent pair_style, lj/cut, ... are one token.")
def tokenizer(data_dir: str, out_dir: str, vocab_size: int, seed: int, whole_words: bool) -> None:
    """Train the tokenizer on the train splits."""
    from mdx.data.tasks import training_texts
    from mdx.tokenizer import Tokenizer, lammps_words, train_tokenizer

    whole = lammps_words(training_texts(data_dir)) if whole_words else []
    train_tokenizer(training_texts(data_dir), out_dir, vocab_size, seed, whole)
    click.echo(f"{Tokenizer.load(out_dir).vocab_size} tokens in {out_dir}")


@main.command()
@click.argument("name", type=click.Choice(_DATA_SETS))
@_data_option
@click.option("--split", default="train", show_default=True, help="A split, or all.")
@click.option("--family", default="", help="Tasks of a family, questions of a kind, ...")
@click.option("--text", default="", help="Records in which this occurs, whatever its case.")
@click.option("--id", "id_", default="", help="The record of this id (or sha256), of any split.")
@click.option("--num", "count", default=1, show_default=True, help="How many records.")
@click.option("--start", default=0, show_default=True, help="How many to leave out before.")
@click.option("--whole", is_flag=True, help="Also the fields for machines.")
def show(
    name: str,
    data_dir: str,
    split: str,
    family: str,
    text: str,
    id_: str,
    count: int,
    start: int,
    whole: bool,
) -> None:
    """Print records, through a pager on a terminal."""
    from trainers.data_show import show_records

    if start < 0 or count < 1:
        raise UsageError("--start must be 0 or more and --num 1 or more")
    lines = show_records(
        data_dir,
        name,
        start=start,
        count=count,
        whole=whole,
        split="" if split == "all" or id_ else split,
        family=family,
        text=text,
        id_=id_,
    )
    if sys.stdout.isatty() and count > 1:
        click.echo_via_pager(lines)
        return
    for line in lines:
        click.echo(line, nl=False)


@main.command()
@_data_option
@click.option("--tokenizer", "tokenizer_dir", help="Count tokens with this tokenizer, too.")
@click.option("--seq-len", default=512, show_default=True, help="Row length for the packing.")
@click.option("--plot", default="", help="Write a page of plots to this file (PNG).")
def stats(data_dir: str, tokenizer_dir: str | None, seq_len: int, plot: str) -> None:
    """Print sizes, shares of dropped references, lengths, costs, tokens and padding."""
    from mdx.tokenizer import Tokenizer
    from trainers.data_stats import gather_stats, plot_stats, summary_rows

    file = Path(data_dir) / "manifest.json"
    if not file.is_file():
        raise UsageError(f"{data_dir} holds no finished data sets: run mdx-data build first")
    _echo_manifest(json.loads(file.read_text(encoding="utf-8")))
    tokenizer = Tokenizer.load(tokenizer_dir) if tokenizer_dir else None
    unit = "tokens" if tokenizer else "characters"
    found = gather_stats(
        data_dir, lambda text: len(tokenizer.encode(text)) if tokenizer else len(text)
    )
    _echo_table(summary_rows(found, unit))
    for title, counts in (("register", found.registers), ("language", found.languages)):
        if counts:
            _echo_table([(title, "records"), *((n, str(c)) for n, c in counts.most_common())])
    if tokenizer_dir:
        _echo_tokens(data_dir, tokenizer_dir, seq_len)
    if plot:
        plot_stats(found, plot, unit)
        click.echo(f"plots are in {plot}")


def _echo_sizes(manifest: Mapping[str, Any]) -> None:
    data_sets = manifest["data_sets"]
    splits = list(dict.fromkeys(split for sizes in data_sets.values() for split in sizes))
    sizes = [
        (name, *(str(of[split]["num_records"]) if split in of else "-" for split in splits))
        for name, of in data_sets.items()
    ]
    _echo_table([("data set", *splits), *sizes])


def _echo_tokens_of(tokens: Mapping[str, Any] | None) -> None:
    if tokens:
        counts = ", ".join(f"{name} {count:,}" for name, count in tokens["total"].items())
        click.echo(f"tokens of the corpus: {counts} (tokenizer: {tokens['tokenizer']})")


def _echo_manifest(manifest: Mapping[str, Any]) -> None:
    _echo_sizes(manifest)
    families = [
        (name, str(family["num_examples"]), f"{family['share_dropped']:.1%}")
        for name, family in manifest.get("families", {}).items()
    ]
    if families:
        _echo_table([("family", "examples", "dropped"), *families])


def _echo_tokens(data_dir: str, tokenizer_dir: str, seq_len: int) -> None:
    from mdx.chat import script_reply
    from mdx.data.datasets import BUILDERS, folder_of, read_records
    from mdx.data.pipeline import cpt_batches, sft_batches
    from mdx.data.tasks import load_examples
    from mdx.tokenizer import Tokenizer

    rows: list[tuple[str, ...]] = [
        ("pipeline", "documents", "tokens", "targets", "too long", "padding")
    ]
    there = {name: folder_of(data_dir, name).exists() for name in BUILDERS}
    pipelines = {"cpt": cpt_batches} if there["md_knowledge"] else {}
    if there["md_code_gen"] and there["md_instruct_qa"]:
        pipelines["sft"] = sft_batches
    for stage, batches in pipelines.items():
        s = batches(
            data_dir, tokenizer_dir, split="train", batch_size=1, seq_len=seq_len, seed=0
        ).stats
        counts = (s.num_documents, s.num_tokens, s.num_targets, s.num_dropped)
        rows.append((stage, *map(str, counts), f"{s.padding_share:.1%}"))
    _echo_table(rows)
    encode = Tokenizer.load(tokenizer_dir).encode
    texts: dict[str, list[str]] = {}
    if there["md_code_gen"]:
        examples = load_examples(data_dir, "test")
        texts["scripts"] = [script_reply(example.script) for example in examples]
        texts["prompts"] = [example.task.prompt for example in examples]
    if there["md_knowledge"]:
        texts["documents"] = [r["text"] for r in read_records(data_dir, "md_knowledge", "test")]
    table: list[tuple[str, ...]] = [("of the test split", "tokens each", "characters a token")]
    for name, those in texts.items():
        tokens = sum(len(encode(text)) for text in those)
        compression = sum(map(len, those)) / tokens
        table.append((name, f"{tokens / len(those):.1f}", f"{compression:.2f}"))
    _echo_table(table)


def _echo_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name, *cells in rows:
        numbers = "  ".join(
            cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)
        )
        click.echo(f"{name.ljust(widths[0])}  {numbers}")
    click.echo()


if __name__ == "__main__":
    main()
