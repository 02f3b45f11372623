"""Documents for continued pre-training: cards of facts, and scripts with their texts.

The cards are about materials, units, commands and errors; all of it is MDX's own prose. The only
task texts and scripts are those of the examples passed in, which must be of the training split:
`draw_documents` refuses others.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from mdx.chat import script_reply
from mdx.errors import UsageError
from mdx.tasks.facts import LICENCE, SOURCE, CommandFact, ErrorFact, facts
from mdx.tasks.families import FAMILIES
from mdx.tasks.generate import Example
from mdx.tasks.materials import (
    Material,
    crystal_commands,
    is_default,
    materials,
    num_atoms,
    potential_commands,
)
from mdx.tasks.splits import split_of


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text, with where it comes from and under which licence."""

    text: str
    source: str = SOURCE
    licence: str = LICENCE


def draw_documents(examples: Iterable[Example], seed: int) -> Iterator[Document]:
    """Yield all cards and one document an example, shuffled by `seed`.

    Raises UsageError for an example that is not of the training split.
    """
    examples = list(examples)
    shown = {example.task.family for example in examples}
    texts = [_material_card(m) for m in materials()]
    texts += [_unit_card(style) for style in facts().units]
    texts += [_command_card(fact) for fact in facts().commands]
    texts += [_error_card(fact) for fact in facts().errors]
    texts += [f"Task family {f.name}: {f.summary}\n" for f in FAMILIES if f.name in shown]
    texts += [_example_text(example) for example in examples]
    Random(f"documents/{seed}").shuffle(texts)
    for text in dict.fromkeys(texts):
        yield Document(text=text)


def _material_card(m: Material) -> str:
    """Say what is known of one material with one potential."""
    cell = num_atoms(m, (1, 1, 1))
    default = " It is the usual choice for this material." if is_default(m) else ""
    lines = [
        f"{m.name} ({m.english}, {m.chinese}) with the potential {m.potential_file}.",
        f"The pair style is {m.style}.{default}",
        f"The lattice constant is {m.lattice_constant:g} A, with {cell} atoms in a cubic cell.",
        f"The energy is {m.energy_per_atom:.3f} eV per atom and the volume"
        f" {m.volume_per_atom:.3f} A^3 per atom.",
    ]
    if m.vacancy_energy is not None:
        lines.append(f"A vacancy costs {m.vacancy_energy:.2f} eV.")
    commands = [*crystal_commands(m, (3, 3, 3)), *potential_commands(m)]
    return "\n".join([*lines, "A crystal of 3x3x3 cells:", *commands]) + "\n"


def _unit_card(style: str) -> str:
    """Say what each quantity is measured in."""
    table = facts().units[style]
    lines = [f"{q}: {unit}" for q, unit in table.items() if q != "timestep"]
    default = f"default timestep: {table['timestep']}"
    return "\n".join([f"units {style}", *lines, default]) + "\n"


def _command_card(fact: CommandFact) -> str:
    return f"{fact.name} {fact.purpose}.\nSyntax: {fact.syntax}\nExample: {fact.example}\n"


def _error_card(fact: ErrorFact) -> str:
    return f"{fact.error}\nCause: {fact.cause}.\nFix: {fact.fix}.\n"


def _example_text(example: Example) -> str:
    """Return the text of a training task above its script, fenced as in Markdown."""
    if split_of(example.script) != "train":
        raise UsageError(
            f"documents are made of the training split only, but {example.task.id} belongs to "
            f"{split_of(example.script)}; pass examples drawn with split='train'"
        )
    return f"{example.task.prompt}\n{script_reply(example.script)}\n"
