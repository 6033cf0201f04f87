"""Text tables: what stands in the table, in its caption, and what is left out."""

from scylla_sim.text.tables import Column, automatic_columns, fold, text_table

ROWS = [
    {"gpu": "h100", "batch": 1, "speedup": 1.6549, "lower": 1.4, "upper": 1.85, "note": ""},
    {"gpu": "h100", "batch": 256, "speedup": 0.814, "lower": 0.764, "upper": 0.859, "note": None},
]
COLUMNS = [
    Column("gpu", "GPU", fold=True),
    Column("batch"),
    Column("speedup", "speed-up [90 %]", ends=("lower", "upper"), decimals=2),
    Column("note"),
]


def test_a_table_has_the_layout_of_the_mock_up():
    assert text_table(ROWS, COLUMNS).splitlines() == [
        "batch   speed-up [90 %]  note",
        "    1  1.65 [1.40-1.85]  -",
        "  256  0.81 [0.76-0.86]  -",
        "all rows: GPU h100",
    ]
    assert "GPU" not in text_table(ROWS, COLUMNS, caption=False)


def test_scale_and_unit():
    column = Column("share", scale=100.0, unit=" %")
    assert [column.cell({"share": value}) for value in (0.29, None, "all")] == ["29.0 %", "-", "all %"]


def test_ends_of_an_interval_are_found_by_their_names():
    keys = ["step_s", "step_lower_s", "step_upper_s", "tau", "tau_lower", "tau_upper", "a_lower"]
    found = automatic_columns([dict.fromkeys(keys, 1.0)])
    assert [(column.key, column.ends is not None) for column in found] == [
        *(("step_s", True), ("tau", True), ("a_lower", False)),
    ]


def test_one_column_stays_where_all_rows_agree():
    kept, same = fold([{"a": "x", "b": "y"}], [Column("a", fold=True), Column("b", fold=True)])
    assert ([column.key for column in kept], same) == (["b"], ["a x"])


def test_a_wide_table_wraps_headings_then_text_then_omits_columns():
    row = {"first_long_heading_of_a_table": 1, "text": "word " * 30, **{f"a_number_{i}": i for i in range(20)}}
    text = text_table([row], width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert text.lstrip().startswith("first_")
    assert " not shown: a_number_" in (words := " ".join(text.split()))
    assert "a_number_19 (--format csv has them)" in words


def test_no_rows_print_the_headings():
    assert text_table([], [Column("a"), Column("b")]) == "a  b\n"
