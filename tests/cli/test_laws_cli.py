"""``scylla-sim laws`` as a user types it."""

import csv
import io
import itertools
import json
import math
import sys

import pytest

from scylla_sim.cli import main

# arXiv 2505.07858, Fig. 1 left, printed labels; 0 is the dashed line without pretraining.
FIG_1 = {"0": 5.03, "1B": 5.13, "2B": 5.15, "5B": 5.29, "10B": 5.33, "20B": 5.30, "50B": 5.43, "100B": 5.40}


@pytest.fixture
def fig_1(tmp_path):
    path = tmp_path / "fig1.csv"
    lines = [f"{x},{y},{'left' if x != '0' else 'dashed'},1" for x, y in FIG_1.items()]
    path.write_text("tokens,tau,panel,weight\n" + "\n".join(lines) + "\n")
    return path


def rows_of(capsys, *args):
    assert main(["laws", *map(str, args), "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "scylla-sim/laws/1"
    return {row["form"]: row for row in result["rows"]}


def test_fig_1_from_a_file_with_suffixes(fig_1, capsys):
    rows = rows_of(capsys, fig_1, "--x", "tokens", "--y", "tau", "--x-scale", "1B", "--where", "panel=left")
    law = rows["log-linear"]
    assert (law["a"], law["c"], law["r2"]) == (
        pytest.approx(0.0645, abs=5e-4),
        pytest.approx(5.142, abs=5e-4),
        pytest.approx(0.885, abs=5e-4),
    )
    assert law["a_lower"] < 0.0645 < law["a_upper"]
    assert law["n"] == 7
    assert law["delta_aicc"] == 0, "the log-linear law is the best of all on these points"


def test_the_point_without_pretraining_needs_a_law_defined_at_zero(fig_1, capsys):
    rows = rows_of(capsys, fig_1, "--x", "tokens", "--y", "tau", "--x-scale", "1B")
    law = rows["log1p"]
    assert (law["a"], law["c"], law["r2"]) == (
        pytest.approx(0.0825, abs=5e-4),
        pytest.approx(5.076, abs=5e-4),
        pytest.approx(0.893, abs=5e-4),
    )
    assert rows["log-linear"]["converged"] is False
    assert rows["log-linear"]["message"] == "not defined at the smallest x"
    assert "a" not in rows["log-linear"]


def test_prediction_and_extrapolation(fig_1, capsys):
    rows = rows_of(
        capsys, fig_1, "--x", "tokens", "--y", "tau", "--x-scale", "1B", "--forms", "log1p", "--predict", "10B,500B"
    )
    law = rows["log1p"]
    assert law["y(10B)"] == pytest.approx(5.274, abs=1e-3)
    assert law["y(10B)_lower"] < law["y(10B)"] < law["y(10B)_upper"]
    assert (law["y(10B)_extrapolates"], law["y(500B)_extrapolates"]) == (False, True)


def test_bootstrap_repeats_with_its_seed(fig_1, capsys):
    args = [fig_1, "--x", "tokens", "--y", "tau", "--x-scale", "1B", "--forms", "log1p", "--bootstrap", 200]
    first, same, other = (rows_of(capsys, *args, "--seed", seed)["log1p"] for seed in (1, 1, 2))
    assert first == same != other
    assert first["a_boot_lower"] < 0.0825 < first["a_boot_upper"]


def test_weights_and_evidence_reach_the_rows(fig_1, capsys):
    args = [fig_1, "--x", "tokens", "--y", "tau", "--x-scale", "1B", "--forms", "log1p"]
    plain = rows_of(capsys, *args)["log1p"]
    weighted = rows_of(capsys, *args, "--weight", "weight", "--evidence", "published")["log1p"]
    assert weighted["a"] == pytest.approx(plain["a"]), "equal weights change nothing"
    assert (plain["evidence"], weighted["evidence"]) == (None, "published")


def test_csv_has_one_row_per_form(fig_1, tmp_path, capsys):
    out = tmp_path / "laws.csv"
    assert main(["laws", str(fig_1), "--x", "tokens", "--y", "tau", "--format", "csv", "--out", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert {row["form"] for row in rows} >= {"log1p", "log-linear", "power"}
    assert capsys.readouterr().out == ""


def test_table_names_the_units(fig_1, capsys):
    assert main(["laws", str(fig_1), "--x", "tokens", "--y", "tau", "--x-scale", "1B", "--predict", "500B"]) == 0
    shown = capsys.readouterr().out
    assert "ln is natural, x in units of 1B" in shown
    assert "extrapolated" in shown
    assert "best by AICc: log1p" in shown


def test_equally_good_laws_are_listed(fig_1, tmp_path, capsys):
    args = ["--x", "tokens", "--y", "tau", "--x-scale", "1B", "--where"]
    assert main(["laws", str(fig_1), *args, "panel=left"]) == 0
    assert "equally good within 2: power" in capsys.readouterr().out
    three = tmp_path / "three.csv"
    three.write_text("tokens,tau\n1,5\n2,5.2\n4,5.3\n")
    assert main(["laws", str(three), *args[:4]]) == 0
    assert "no AICc: too few points to compare laws" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_drawing_is_the_same_every_time(fig_1, tmp_path, suffix, capsys):
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        args = ["laws", str(fig_1), "--x", "tokens", "--y", "tau", "--forms", "log1p", "--draw", str(path)]
        assert main(args) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(paths[0].read_bytes()) > 1000


def test_without_matplotlib_drawing_says_what_to_install(fig_1, tmp_path, capsys, monkeypatch):
    for name in ("matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))):
        monkeypatch.setitem(sys.modules, name, None)
    target = tmp_path / "a.svg"
    args = ["laws", str(fig_1), "--x", "tokens", "--y", "tau", "--forms", "log1p", "--draw", str(target)]
    assert main(args) == 2
    assert "needs matplotlib" in capsys.readouterr().err
    assert not target.exists()


GOOD = "tokens,tau\n1,5.1\n2,5.2\n4,5.3\n8,5.4\n"


@pytest.mark.parametrize(
    ("text", "extra", "message"),
    [
        (None, [], "cannot be read"),
        ("", [], "must begin with a line of column names"),
        (GOOD, ["--y", "tua"], "column='tua' is not known; did you mean tau?"),
        (GOOD, ["--weight", "w"], "column='w' is not known"),
        (GOOD, ["--where", "panel=left"], "column='panel' is not known"),
        (GOOD, ["--where", "tau"], "must be NAME=VALUE"),
        (GOOD, ["--where", "tau=5.1"], "points=1 must be at least 3"),
        (GOOD, ["--forms", "quadratic"], "form='quadratic' is not known"),
        (GOOD, ["--predict", "-1"], "lies outside the domain"),
        (GOOD, ["--predict", "many"], "predict='many' must be a finite number"),
        (GOOD, ["--draw", "law.pdf"], "must end in .svg or .png"),
        (GOOD, ["--level", "90"], "level=90 must lie in [0.5, 0.999]"),
        (GOOD, ["--x-scale", "0"], "x_scale=0 must be above 0"),
        (GOOD, ["--bootstrap", "-1"], "bootstrap=-1 must lie in [0, 100000]"),
        (GOOD, ["--seed", "-1", "--bootstrap", "9"], "seed=-1 must be at least 0"),
        (GOOD.replace("5.2", "nan"), [], "tau='nan' must be a finite number on line 3"),
        (GOOD.replace("5.2", "fast"), [], "tau='fast' must be a finite number on line 3"),
        (GOOD.replace("5.2", ""), [], "tau='' must be a finite number on line 3"),
        (GOOD.replace("\n4,", "\n-4,"), [], "x=-4 must be above 0 for log-linear in line 4"),
        (GOOD.replace("\n4,", "\n0,"), ["--forms", "power"], "x=0 must be above 0 for power in line 4"),
        (GOOD.replace("5.3", "5.3,7"), [], "line=4 has 3 fields, not 2"),
        ("tokens,tau,w\n1,5,1\n2,6,0\n3,7,1\n", ["--weight", "w"], "w='0' must be a number above 0 on line 3"),
        (GOOD, ["--forms", "sdsl"], "is a law of the draft's perplexity; give --train-tokens"),
        (GOOD, ["--train-tokens", "tau:many"], "train_tokens='many' is not understood"),
        (GOOD, ["--tuning-tokens", "1B"], "tuning_tokens='1B' needs --train-tokens"),
        (
            GOOD.replace("1,5.1", "0,5.1"),
            ["--train-tokens", "tokens"],
            "must be above 0 for the loss law in",
        ),
        (GOOD, ["--x-scale", "1,2"], "must be one unit, or one for each of 1 columns"),
        (GOOD, ["--x", "tokens,tau", "--predict", "3"], "cannot be combined with several columns in --x"),
        (GOOD, ["--x", "tokens,tau", "--forms", "linear"], "must have one term per column of --x (2)"),
        (GOOD, ["--x", "tokens,tau", "--forms", "linear+power"], "term='power' is not known"),
        (GOOD, ["--x", "tokens,tau,tau,tau"], "must be at most 3 columns"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(text, extra, message, tmp_path, capsys):
    path = tmp_path / "points.csv"
    if text is not None:
        path.write_text(text)
    assert main(["laws", str(path), "--x", "tokens", "--y", "tau", *extra]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_tasks_as_a_factor_share_one_slope(tmp_path, capsys):
    path = tmp_path / "tasks.csv"
    lines = [
        f"{d},{5 + 0.4 * i + gain},{task}"
        for task, gain in (("chat", 0), ("code", 1))
        for i, d in enumerate((1, 2, 4, 8))
    ]
    path.write_text("layers,tau,task\n" + "\n".join(lines) + "\n")
    rows = rows_of(capsys, path, "--x", "layers", "--y", "tau", "--factor", "task")
    law = rows["log-linear"]
    assert law["delta_aicc"] == 0
    assert (law["a"], law["task=code"]) == (pytest.approx(0.4 / 0.693147), pytest.approx(1.0))
    assert main(["laws", str(path), "--x", "layers", "--y", "tau", "--factor", "task", "--predict", "3"]) == 2
    assert "predict='3' cannot be combined with --factor" in capsys.readouterr().err


FIG_1_BOTH = [(1, 0), (1, 1), (1, 10), (1, 100), (2, 0), (5, 0), (10, 0)]


def test_two_columns_of_x_are_terms_that_add(tmp_path, capsys):
    path = tmp_path / "both.csv"
    lines = [f"{d},{t}B,{5 + 0.4 * math.log(d) + 0.1 * math.log1p(t) + 0.001 * (d % 2)}" for d, t in FIG_1_BOTH]
    path.write_text("layers,tokens,tau\n" + "\n".join(lines) + "\n")
    rows = rows_of(capsys, path, "--x", "layers,tokens", "--y", "tau", "--x-scale", "1,1B")
    best = rows["log-linear+log1p"]
    assert best["delta_aicc"] == 0
    assert (best["a1"], best["a2"], best["c"]) == (
        pytest.approx(0.4, abs=2e-3),
        pytest.approx(0.1, abs=2e-3),
        pytest.approx(5, abs=2e-3),
    )
    assert best["formula"] == "a1 ln x1 + a2 ln(x2 + 1) + c"
    assert "log-linear+log-linear" not in rows, "ln 0 is not defined"


def test_sdsl_uses_the_perplexity_of_the_draft(fig_1, capsys):
    args = [fig_1, "--x", "tokens", "--y", "tau", "--x-scale", "1B", "--train-tokens", "tokens:1B"]
    rows = rows_of(capsys, *args, "--where", "panel=left", "--predict", "10B,20")
    law = rows["sdsl"]
    perplexity = math.exp(1.69 + 410.7 / 10e9**0.28)
    assert law["y(10B)"] == pytest.approx(law["a"] * perplexity + law["c"])
    assert (law["y(10B)_extrapolates"], law["y(20)"] > law["y(10B)"]) == (False, True)
    assert law["r2"] == pytest.approx(0.891, abs=1e-3)
    with_zero = rows_of(capsys, *args, "--tuning-tokens", "1B")
    assert with_zero["sdsl"]["n"] == 8
    assert with_zero["log1p"]["delta_aicc"] > 4, "the rival is the better law of these points"


def test_a_law_of_perplexity_that_cannot_predict_is_noted(tmp_path, capsys):
    """The perplexity depends on two columns, and --x names only one."""
    rows = [f"{tokens}B,{size}M,{2 + 0.1 * tokens + 0.001 * size}" for tokens in (1, 2, 4) for size in (70, 300)]
    (tmp_path / "t.csv").write_text("\n".join(["tokens,parameters,tau", *rows]))
    args = [str(tmp_path / "t.csv"), "--x", "tokens", "--y", "tau", "--predict", "8B"]
    assert main(["laws", *args, "--train-tokens", "tokens", "--draft-parameters", "parameters"]) == 0
    assert "--predict leaves out the laws of perplexity" in capsys.readouterr().err


def test_separate_slopes_are_shown_with_the_common_slope(tmp_path, capsys):
    path = tmp_path / "tasks.csv"
    lines = [
        f"{d},{5 + slope * i + (i == 2) / 50},{task}"
        for task, slope in (("chat", 0.1), ("code", 0.5))
        for i, d in enumerate((1, 2, 4, 8))
    ]
    path.write_text("layers,tau,task\n" + "\n".join(lines) + "\n")
    law = rows_of(capsys, path, "--x", "layers", "--y", "tau", "--factor", "task", "--forms", "log-linear")[
        "log-linear"
    ]
    assert law["separate_slopes_aicc"] < law["aicc"] - 10
    assert law["a[task=code]"] == pytest.approx(0.5 / math.log(2), abs=0.01)
    assert law["a[task=chat]_lower"] < 0.1 / math.log(2) < law["a[task=chat]_upper"]


@pytest.fixture
def grown(tmp_path):
    """Write points of two depths and three seeds: tau = (depth + seed / 10) ln x + 1."""
    lines = ["layers,seed,tokens,tau"]
    for depth, seed, x in itertools.product((1, 2), (0, 1, 2), (1, 2, 4, 8)):
        lines.append(f"{depth},{seed},{x},{(depth + seed / 10) * math.log(x) + 1}")
    path = tmp_path / "grown.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_groups_and_replicates(grown, capsys):
    """Slopes 1, 1.1 and 1.2 have the mean 1.1 and, with t = 2.92, the half width 2.92 * 0.1 / sqrt(3)."""
    options = ["--forms", "log-linear", "--format", "json", "--by", "layers", "--replicates", "seed"]
    assert main(["laws", str(grown), "--x", "tokens", "--y", "tau", *options]) == 0
    first, second = json.loads(capsys.readouterr().out)["rows"]
    assert (first["layers"], second["layers"], first["replicates"], first["n"]) == ("1", "2", 3, 4)
    assert first["a"] == pytest.approx(1.1) and second["a"] == pytest.approx(2.1)
    half = 2.919986 * 0.1 / 3**0.5
    assert first["a_replicates_lower"] == pytest.approx(1.1 - half, rel=1e-6)
    assert first["a_replicates_upper"] == pytest.approx(1.1 + half, rel=1e-6)
    assert first["r2_replicates_least"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "layer"], "column='layer'"),
        (["--replicates", "seed", "--factor", "layers"], "cannot be combined with --replicates"),
        (["--replicates", "tau"], "points="),
        (["--replicates", "seed", "--bootstrap", "9"], "cannot be combined with --replicates"),
    ],
)
def test_bad_groups_and_replicates_are_refused(grown, capsys, options, message):
    assert main(["laws", str(grown), "--x", "tokens", "--y", "tau", *options]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_groups_may_have_commas_and_equals_signs_in_their_names(tmp_path, capsys):
    path = tmp_path / "named.csv"
    path.write_text("k=v,x,y\n" + "".join(f'"a,b",{x},{x}\nc=d,{x},{2 * x}\n' for x in range(1, 6)))
    args = [path, "--x", "x", "--y", "y", "--by", "k=v", "--forms", "linear", "--format", "json"]
    assert main(["laws", *map(str, args)]) == 0
    slopes = {row["k=v"]: row["a"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert slopes == {"a,b": pytest.approx(1.0), "c=d": pytest.approx(2.0)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--x", "tokens,"], "column='' is not known; known: tokens, tau, panel, weight"),
        (["--x", "tokens", "--factor", "panel,"], "column='' is not known"),
        (["--x", "tokens", "--bootstrap", "999999999999"], "bootstrap=999999999999 must lie in [0, 100000]"),
    ],
)
def test_blank_columns_and_too_many_refits_are_refused(options, message, fig_1, capsys):
    assert main(["laws", str(fig_1), "--y", "tau", *options]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


@pytest.fixture
def drafts(tmp_path):
    """Drafts that obey c + (a + b ln D) ln T, for two seeds."""
    path = tmp_path / "drafts.csv"
    lines = ["seed,tokens,layers,tau"]
    for seed, tokens, layers in itertools.product((0, 1), (1, 2, 4, 8, 16, 32), (1, 2, 3, 4, 6, 8)):
        tau = 1.8 + 0.01 * seed + (0.3 + 0.1 * math.log(layers)) * math.log(tokens)
        lines.append(f"{seed},{tokens},{layers},{tau}")
    path.write_text("\n".join(lines) + "\n")
    return path


JOINT = ("--x", "tokens,layers", "--y", "tau", "--joint")


def test_joint_laws_are_scored_on_a_corner_with_their_seeds(drafts, capsys):
    forms = ("--forms", "sum,interaction,rate-sum", "--draft-len", "6")
    rows = rows_of(capsys, drafts, *JOINT, "--replicates", "seed", *forms)
    law = rows["interaction"]
    assert next(iter(rows)) == "interaction" and len(rows) == 3
    assert (law["a"], law["b"], law["c"]) == pytest.approx((0.3, 0.1, 1.805), abs=1e-4)
    assert (law["fitted_tokens"], law["fitted_layers"], law["corner_n"]) == (8, 4, 4)
    assert law["corner_error"] == pytest.approx(0, abs=1e-4)
    # the sum does not know that layers help more with more tokens
    assert rows["sum"]["corner_bias"] < -0.05
    assert law["c_replicates_lower"] < law["c"] < law["c_replicates_upper"] and law["replicates"] == 2


def test_joint_laws_in_a_table(drafts, capsys):
    assert main(["laws", str(drafts), *JOINT, "--where", "seed=0", "--corner", "8,3"]) == 0
    out, err = capsys.readouterr()
    assert "rate-sum, rate-interaction, rate-powers are laws of the acceptance rate and need --draft-len" in err
    assert "corner: drafts with more than 8 tokens and 3 layers" in out and "best by AICc: interaction" in out


def test_a_law_with_too_few_points_is_named_and_the_others_are_fitted(tmp_path, capsys):
    path = tmp_path / "few.csv"
    path.write_text(
        "tokens,layers,tau\n" + "".join(f"{t},{d},{1.5 + t / 9 + d / 9}\n" for t in (1, 2, 4) for d in (1, 2))
    )
    rows = rows_of(capsys, path, *JOINT)
    assert not rows["powers"]["converged"] and rows["powers"]["message"] == "needs at least 7 points"
    assert rows["sum"]["converged"] and "corner_error" not in rows["sum"]


def test_shared_tokens_are_added_to_those_of_every_draft(drafts, capsys):
    rows = rows_of(capsys, drafts, *JOINT, "--where", "seed=0", "--tuning-tokens", "3", "--forms", "sum")
    assert rows["sum"]["unit"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--x", "tokens", "--y", "tau", "--joint"), "x=tokens must be two columns with --joint"),
        ((*JOINT, "--factor", "seed"), "factor=seed cannot be combined with --joint"),
        ((*JOINT, "--corner", "8"), "corner=8 must be two numbers"),
        ((*JOINT, "--corner", "64,1"), "leaves no point"),
        (("--x", "tokens", "--y", "tau", "--draft-len", "6"), "draft_len=6 needs --joint"),
        ((*JOINT, "--forms", "power"), "form"),
    ],
)
def test_joint_options_that_do_not_fit(drafts, capsys, options, message):
    assert main(["laws", str(drafts), "--where", "seed=0", *options]) == 2
    assert message in capsys.readouterr().err.replace("'", "")
