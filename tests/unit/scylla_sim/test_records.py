"""Result files: atomic writing, hashes of a folder, and CSV columns."""

import math

import pytest

from scylla_sim import records
from scylla_sim.checks import InputError


def test_written_file_keeps_its_mode_and_leaves_no_other_file(tmp_path):
    file = tmp_path / "folder" / "rows.json"
    records.write_text(file, "old")
    file.chmod(0o640)
    records.write_text(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_link_is_followed(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    link.symlink_to(file)
    records.write_text(link, "new")
    assert link.is_symlink() and file.read_text() == "new"


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "rows.csv"
    file.write_text("old")
    monkeypatch.setattr(records.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match="cannot be written .No space left."):
        records.write_text(file, "new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_hashes_of_a_folder_find_an_edited_and_an_added_file(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(name)
    records.check_sums(tmp_path / "a.csv")  # no SUMS file yet
    records.write_sums(tmp_path, ["b.csv", "a.csv"])
    assert list(records.read_sums(tmp_path)) == ["a.csv", "b.csv"]
    records.check_sums(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("edited")
    with pytest.raises(InputError, match="does not match its hash"):
        records.check_sums(tmp_path / "a.csv")
    (tmp_path / "c.csv").write_text("added")
    with pytest.raises(InputError, match="is not listed"):
        records.check_sums(tmp_path / "c.csv")


def test_json_has_all_digits_and_refuses_nan():
    assert records.dump_json({"b": 0.1 + 0.2, "a": 1}) == '{\n "b": 0.30000000000000004,\n "a": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.dump_json(math.nan)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "must hold a JSON object"),
        ('{"schema": "other/1"}', "schema='other/1' must be 'mine/1'"),
        ("[" * 100000, "nested too deeply"),
    ],
)
def test_bad_json_is_refused(text, message, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=message):
        records.read_json(tmp_path / "x.json", schema="mine/1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with a line of column names"),
        ("a,,c\n", "must begin with a line of column names"),
        ("a,a\n1,2\n", "column='a' appears twice"),
        ("a,b\n1,2\n1\n", "line=3 has 1 fields, not 2"),
        ("a\n1\n", "column='b' is missing from .* columns: a"),
        ('a,b\n1,"2\n', "is not CSV text"),
    ],
)
def test_bad_csv_is_refused(text, message, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        records.read_columns(tmp_path / "x.csv", needed=["b"])


def test_columns_survive_writing_and_reading(tmp_path):
    columns = {"name": ["a,b", 'c"d'], "value": [0.1, 1e300]}
    (tmp_path / "x.csv").write_text(records.format_columns(columns))
    assert records.read_columns(tmp_path / "x.csv") == {"name": ["a,b", 'c"d'], "value": ["0.1", "1e+300"]}


def test_long_file_is_read_in_blocks(tmp_path):
    rows = records.READ_BLOCK + 1
    (tmp_path / "x.csv").write_text("a\n" + "".join(f"{i}\n" for i in range(rows)))
    assert records.read_columns(tmp_path / "x.csv")["a"] == [str(i) for i in range(rows)]


def test_csv_has_all_keys_in_order_of_appearance():
    assert records.format_csv([{"b": 1}, {"a": 2, "b": 3}]) == "b,a\n1,\n3,2\n"


def test_provenance_names_files_without_their_folder(tmp_path):
    (tmp_path / "in.csv").write_text("x")
    found = records.provenance(inputs=[tmp_path / "in.csv"], note="n")
    assert list(found["inputs"]) == ["in.csv"] and found["note"] == "n"
    assert found["inputs"]["in.csv"] == records.sha256_of(tmp_path / "in.csv")


def test_a_copy_without_git_names_its_commit(monkeypatch):
    """On a rented GPU a .git that travelled along may be that of another commit."""
    records.git_state.cache_clear()
    monkeypatch.setenv(records.COMMIT_VARIABLE, "0123abc")
    assert records.git_state() == {"git_sha": "0123abc", "git_dirty": None}
    monkeypatch.delenv(records.COMMIT_VARIABLE)
    records.git_state.cache_clear()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_of_spreadsheets(tmp_path, separator, encoding):
    file = tmp_path / "a.csv"
    file.write_text("m,n\n1,2\n3,4\n".replace(",", separator), encoding=encoding)
    assert records.read_columns(file) == {"m": ["1", "3"], "n": ["2", "4"]}


def test_a_link_to_itself_is_not_written(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="out=.*cannot be written"):
        records.write_text(tmp_path / "loop", "x")
