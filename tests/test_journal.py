"""A journal keeps whole records through a kill, and says what else is wrong with its file."""

import msgspec
import pytest

from mdx.errors import UsageError
from mdx.journal import Journal


class Record(msgspec.Struct, frozen=True):
    name: str
    value: int = 0


def read(path):
    found = []
    with Journal(path, Record, lambda place, record: found.append((place, record))):
        return found


def test_records_come_back_with_their_places(tmp_path):
    path = tmp_path / "new folder" / "journal.jsonl"
    records = [Record("a", 1), Record("b" * 100_000, 2), Record("c", 3)]
    added = []
    with Journal(path, Record, lambda *found: added.append(found)) as journal:
        assert added == [], "it was empty"
        places = [journal.add(record) for record in records]
        assert added == list(zip(places, records, strict=True))
        assert [journal.at(place) for place in reversed(places)] == records[::-1]
        assert journal.add(records[0]) > places[-1]
    assert read(path) == [
        *zip(places, records, strict=True),
        (path.stat().st_size - 23, records[0]),
    ]


@pytest.mark.parametrize("num_bytes", [1, 5, 22])
def test_a_torn_line_is_cut_off_and_the_rest_goes_on(tmp_path, num_bytes):
    path = tmp_path / "journal.jsonl"
    with Journal(path, Record, lambda *_: None) as journal:
        places = [journal.add(Record("a", number)) for number in range(2)]
    path.write_bytes(path.read_bytes()[:-num_bytes])
    with Journal(path, Record, lambda *_: None) as journal:
        assert journal.add(Record("again")) == places[1]
    assert [record for _, record in read(path)] == [Record("a", 0), Record("again")]


def test_another_writer_another_file_and_no_folder_are_named_in_one_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    with (
        Journal(path, Record, lambda *_: None),
        pytest.raises(UsageError, match="another build is writing"),
    ):
        read(path)
    path.write_text('{"name": "a"}\n{"value": 1}\n{"name": "c"}\n')
    with pytest.raises(UsageError, match="line 2 does not"):
        read(path)
    assert path.read_text().count("\n") == 3, "nothing is lost"
    with pytest.raises(UsageError, match="must be a folder"):
        read(path / "journal.jsonl")
