"""Data set cards: a README.md beside each data set that says what it is, how it came about, counts.

`card` makes the text from the manifest's numbers and the schema; `write_cards` puts one beside each
data set and seals the manifest, whose hashes include the cards.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdx.data.datasets import BUILDERS
from mdx.data.schema import CITATION, RELEASE_NOTES, Schema
from trainers.build_manifest import MAX_SHARE_DROPPED, Manifest, sealed

CARD = "README.md"

_HOW = {
    "md_code_gen": (
        "Simulations are drawn from MDX's task families by one seed. Each reference script was run "
        "by LAMMPS in a sandbox and scored by `mdx.rewards`; an example is kept if its script "
        "ended well with R >= {min_reward}. `observables` are what that run showed. Splits share "
        "neither a script (up to its random seeds) nor a text; the build compared {skeletons} "
        "skeletons and {texts} texts.\n\n"
        "`train`, `grpo` (prompts for MD-GRPO), `validation` and `test` are alike; `test_pair` "
        "has pairs of material and family, `test_potential` potentials and `test_family` families "
        "that no other split has. A build has the splits that it was asked for."
    ),
    "md_instruct_qa": (
        "Questions are made from facts that are known to be right: measured materials, unit "
        "tables, commands and errors of LAMMPS. No language model wrote any of them."
    ),
    "md_knowledge": (
        "Cards of facts about materials, units, commands and errors, and the tasks of the training "
        "split with their scripts, fenced as in Markdown. Near-duplicates by construction: the "
        "tasks are variations of some dozens of families."
    ),
}
_HOW_CORPUS = {  # where texts of a user's folders were added
    "md_instruct_qa": (
        "\n\nQuestions with a `page` are made from LAMMPS's manual: facts that strict patterns "
        "find in it, each with the words that say it in `quote`; wrong options are values that "
        "cannot hold. Those of `kind` distilled, if there are any, were written by a language "
        "model and kept where the page's own words hold the answer. All questions about one fact "
        "are in one split."
    ),
    "md_knowledge": (
        "\n\nWith them are {num_documents:,} documents out of {num_files:,} files ({num_words:,} "
        "words, numbers and symbols) that the user's sources hold, cleaned, filtered and without "
        "near-duplicates; `source`, `licence` and `notice` tell where each is from."
    ),
}
_LIMITS = {
    "md_code_gen": (
        "Systems are small (mostly 50 to 500 atoms) and runs short (mostly below 2,000 steps): the "
        "observables are those of such runs, not converged properties. Numbers hold for the LAMMPS "
        "version named in each record; MD is chaotic, so trajectories differ between kinds of CPU."
    ),
    "md_instruct_qa": "Answers hold for the LAMMPS version and the potentials that come with it.",
    "md_knowledge": "MDX's own texts are cards and tasks; manuals and papers are those you have.",
}


def write_cards(data_dir: str, manifest: Manifest) -> Manifest:
    """Write the card of each data set of the manifest; return the manifest sealed."""
    for name, splits in manifest["data_sets"].items():
        min_reward = manifest["config"]["min_reward"]
        how = _HOW[name].format(min_reward=min_reward, **manifest["disjoint"])
        if "corpus" in manifest and name in _HOW_CORPUS:
            how += _HOW_CORPUS[name].format(**manifest["corpus"])
        text = card(BUILDERS[name].SCHEMA, splits, how=how, limits=_LIMITS[name])
        if name == "md_code_gen":
            text += _families(manifest["families"])
        (Path(data_dir) / name / CARD).write_text(text, encoding="utf-8")
    return sealed(manifest, data_dir)


def card(schema: Schema, splits: Mapping[str, Mapping[str, Any]], *, how: str, limits: str) -> str:
    """Return the Markdown of a card: what, how, counts, fields, licence, limits, citation."""
    counts = [(split, f"{facts['num_records']:,}") for split, facts in splits.items()]
    fields = [(f"`{name}`", feature.doc.desc) for name, feature in schema.features.items()]
    version = next(iter(RELEASE_NOTES))
    read = f'tfds.builder_from_directory("{_folder(schema)}").as_data_source("train")'
    return (
        f"# {schema.title} {version}\n\n{schema.description}\n\n"
        f"## How it was made\n\n{how}\n\n"
        f"## Splits\n\n{markdown_table(('split', 'records'), counts)}\n"
        f"## Fields\n\n{markdown_table(('field', 'what it is'), fields)}\n"
        f"## Reading it\n\n    import tensorflow_datasets as tfds\n    {read}\n\n"
        f"or `mdx-data show`, or through the pipelines of `mdx.data.pipeline`.\n\n"
        f"## Licence\n\n{schema.licence}\n\n## Limits\n\n{limits}\n\n"
        f"## Release notes\n\n"
        + "".join(f"* {number}: {notes}\n" for number, notes in RELEASE_NOTES.items())
        + f"\n## Citation\n\n```bibtex\n{CITATION}```\n"
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _families(families: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            name,
            f"{facts['num_examples']:,}",
            f"{facts['share_dropped']:.1%}",
            "; ".join(f"{reason}: {count}" for reason, count in facts["dropped"].items()),
        )
        for name, facts in families.items()
    ]
    table = markdown_table(("family", "drawn", "dropped", "why"), rows)
    return (
        f"\n## Families\n\nAt most {MAX_SHARE_DROPPED:.0%} of a family may be dropped.\n\n{table}"
    )


def _folder(schema: Schema) -> str:
    name = next(name for name, builder in BUILDERS.items() if builder.SCHEMA is schema)
    return f"{name}/{BUILDERS[name].VERSION}"
