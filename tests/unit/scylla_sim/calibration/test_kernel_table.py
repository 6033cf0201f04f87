"""The kernels CSV: what is read, and the line each refusal names."""

import pytest

from scylla_sim.calibration import kernel_table
from scylla_sim.checks import InputError

GOOD = "op,device,dtype,m,n,k\ngemm,h100-sxm,bf16,64,4096.0,4096\n"
EXPERTS = "op,device,dtype,num_tokens,experts_per_token,hidden_size,inter_size,groups"
LAYER = "experts,h100-sxm,bf16,256,2,4096,14336,7.5"


def read(tmp_path, text, **options):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return kernel_table.read(path, **options)


def test_bf16_is_bfloat16_and_a_decimal_point_is_allowed(tmp_path):
    rows = read(tmp_path, GOOD)
    assert rows.labels["dtype"].tolist() == ["bfloat16"]
    assert rows.numbers["n"].tolist() == [4096.0]


def test_columns_that_no_row_uses_may_be_absent_and_unknown_ones_pass(tmp_path):
    text = "op,device,dtype,batch,kv_len,num_heads,num_kv_heads,head_dim,note\n"
    rows = read(tmp_path, text + "decode_attention,h100-sxm,bf16,1,1024,32,8,128,mine\n")
    assert rows.numbers["q_len"].tolist() == [1.0]
    assert rows.numbers["window"].tolist() == [0.0]
    assert rows.labels["kv_dtype"].tolist() == ["bfloat16"]
    assert rows.columns["note"] == ["mine"]


def test_an_optional_cell_may_be_empty_and_means_its_default(tmp_path):
    rows = read(tmp_path, "op,device,num_gpus,bytes,graph\nall_reduce,h100-sxm,4,65536,\n")
    assert rows.numbers["graph"].tolist() == [1.0]


def test_rows_of_experts_spread_evenly_unless_the_file_says_how(tmp_path):
    even = read(tmp_path, f"{EXPERTS}\n{LAYER}\n").numbers
    assert [even[name].tolist() for name in ("tiles_16", "tiles_64", "tiles_128", "ragged")] == [
        [37.5],
        [15.0],
        [7.5],
        [7.5],
    ]
    given = read(tmp_path, f"{EXPERTS},tiles_16,tiles_64,tiles_128,ragged\n{LAYER},36,12.5,9,0\n").numbers
    assert given["tiles_64"].tolist() == [12.5]
    assert given["ragged"].tolist() == [0.0]


def test_no_more_experts_are_touched_than_rows_are_routed(tmp_path):
    read(tmp_path, f"{EXPERTS}\nexperts,h100-sxm,bf16,4,2,4096,14336,8\n")
    with pytest.raises(InputError, match=r"groups=9 must be at most num_tokens x experts_per_token = 8 on line 2"):
        read(tmp_path, f"{EXPERTS}\nexperts,h100-sxm,bf16,4,2,4096,14336,9\n")


def test_rows_of_other_operations_have_no_tiles(tmp_path):
    text = f"{EXPERTS},m,n,k\n{LAYER},,,\ngemm,h100-sxm,bf16,,,,,,64,4096,4096\n"
    tiles = read(tmp_path, text).numbers["tiles_128"]
    assert tiles[0] == 7.5 and tiles[1] != tiles[1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "must begin with a line of column names"),
        ("op,device\n", "holds no rows"),
        ("m,n,k\n1,2,3\n", "column='op' is missing"),
        ("op,m,m\ngemm,1,2\n", "column='m' appears twice"),
        ("op,device,dtype,m,n\ngemm,h100-sxm,bf16,1,2\n", "column='k' is missing.*op gemm needs it"),
        (
            GOOD + "gemm,h100-sxm,bf16,,4096,4096\n",
            "m='' must be a whole number in .* on line 3 of rows.csv",
        ),
        (GOOD + "gemm,h100-sxm,bf16,-1,4096,4096\n", "m='-1' must be a whole number in .0, 1e.15. on line 3"),
        (GOOD + "gemm,h100-sxm,bf16,nan,4096,4096\n", "m='nan' must be a whole number in .* on line 3"),
        (GOOD + "gemm,h100-sxm,bf16,many,4096,4096\n", "m='many' must be a whole number in .* on line 3"),
        (GOOD + "gemm,h100-sxm,bf17,1,4096,4096\n", "dtype='bf17' is not known.* on line 3"),
        (GOOD + "gmem,h100-sxm,bf16,1,4096,4096\n", "op='gmem' is not known on line 3"),
        (GOOD + "gemm,h100-sxm\n", "line=3 has 2 fields, not 6"),
        (f"{EXPERTS},tiles_16\n{LAYER},40\n", "column='tiles_64' is missing.*op experts needs it"),
        (
            f"{EXPERTS},tiles_16,tiles_64,tiles_128,ragged\n{LAYER},40,,10,8\n",
            "tiles_64='' must be .* on line 2",
        ),
    ],
)
def test_bad_files_are_one_line_that_names_the_place(tmp_path, text, line):
    with pytest.raises(InputError, match=line) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_measured_rows_need_latency(tmp_path):
    with pytest.raises(InputError, match="column='latency_ms' is missing"):
        read(tmp_path, GOOD, measured=True)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        kernel_table.read(tmp_path / "none.csv")
