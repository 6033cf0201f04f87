"""Laws of text tables."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.text.digits import DIGITS, number
from scylla_sim.text.tables import WIDTH, text_table

CELLS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text("ab _-\u2009", max_size=150))
NAMES = st.text("abc_ ", min_size=1, max_size=40)
TABLES = st.lists(NAMES, min_size=1, max_size=25, unique=True).flatmap(
    lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, CELLS)), min_size=1, max_size=4)
)


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_no_table_is_wider_than_the_terminal(rows):
    assert max(map(len, text_table(rows).splitlines())) <= WIDTH


@given(st.floats(1e-300, 1e300), st.sampled_from([-1.0, 1.0]))
def test_a_printed_number_is_within_half_a_digit(value, sign):
    printed = float(number(sign * value).replace("\u2009", ""))
    assert abs(printed - sign * value) <= 0.5000001 * 10.0 ** (1 - DIGITS) * value
