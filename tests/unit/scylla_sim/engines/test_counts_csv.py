"""The CSV file of counts, as programs and spreadsheets write it."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines.counts import Counts
from scylla_sim.engines.counts_csv import is_counts, read_counts
from scylla_sim.engines.text_file import TextFile

PLAIN = "position,accepted,drafted\n1,760,1000\n2,562,760\n3,433,562\n"
KNOWN = Counts(1000, (760, 562, 433))


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ", "),
        PLAIN.replace(",", " , "),
        PLAIN.replace("\n", "\r\n").rstrip(),
        "\ufeff" + PLAIN,
        "\n" + PLAIN + "\n\n",
        "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in PLAIN.split()),
        "position,accepted,drafted\n1,760,1000\n2,562,1000\n3,433,1000\n",
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-8-sig"),
    ],
)
def test_separators_quotes_and_encodings(content):
    text = TextFile.of(content)
    assert is_counts(text)
    assert read_counts(text)[0].found == KNOWN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("position,accepted\n1,3\n", "must be position,accepted,drafted"),
        ("position,accepted,drafted\n1,8,10\n2,4,9\n", "must be equal at all positions, or equal to"),
        ("position,accepted,drafted\n2,8,10\n", "must run from 1"),
        ("position,accepted,drafted\n\n1,8.5,10\n", "must be three whole numbers on line 3 of"),
        ("position,accepted,drafted\n1,8,10\n2,4\n", "must be three whole numbers on line 3 of"),
        ("position,accepted,drafted\n1,12,10\n", "must fall from cycles=10"),
        (f"position,accepted,drafted\n1,{'9' * 5000},10\n", "must be three whole numbers on line 2 of"),
        ('position,accepted,drafted\n1,"8,10\n', "is not CSV text"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        read_counts(TextFile.of(text))
