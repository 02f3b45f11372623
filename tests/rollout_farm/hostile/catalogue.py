"""All entries by class, and the check that no two share a name."""

from .attack_files import LEFTOVERS, READS, WRITES
from .attack_programs import NATIVE, NETWORK, PIPES, SHELL
from .attack_resources import ENDS, FLOODS, MEMORY_HOGS, TIME
from .attack_texts import FORGERIES, NUMBERS, TEXTS
from .scripts import Attack

CLASSES: dict[str, dict[str, Attack]] = {
    "shell": SHELL,
    "pipes": PIPES,
    "network": NETWORK,
    "native code": NATIVE,
    "reads": READS,
    "writes": WRITES,
    "leftovers": LEFTOVERS,
    "time": TIME,
    "memory": MEMORY_HOGS,
    "floods": FLOODS,
    "ends": ENDS,
    "forgeries": FORGERIES,
    "numbers": NUMBERS,
    "texts": TEXTS,
}
CATALOGUE: dict[str, Attack] = {}
for _entries in CLASSES.values():
    assert not CATALOGUE.keys() & _entries.keys()
    CATALOGUE |= _entries
