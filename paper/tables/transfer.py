"""Table ``transfer``: GEMMs of a GPU predicted from another GPU's calibration, or from few rows of its own."""

from __future__ import annotations

from pathlib import PurePosixPath

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined
from paper.sources.results import Results, ResultTable, commits, value
from paper.tables.errors import FLOORS, ROOFLINE_NOTE, WIDTH, word
from paper.tables.silicon import SOURCE
from scylla_sim.records import Row

_TRANSFERRED = "H100 and priors, datasheet peaks"

_ERRORS = (
    Column("n", "shapes scored", digits=0),
    percent_column("median_ape", "median error"),
    percent_column("mape", "mean error"),
    percent_column("p90_ape", "90th percentile"),
    percent_column("bias", "bias", signed=True),
    percent_column("naive_median_ape", "roofline baseline: median error"),
    percent_column("coverage", "inside 90 % interval", digits=0),
    WIDTH,
    percent_column("floor_median", "noise floor"),
)


def _calibrated_on(results: Results, kind: str, device: str) -> str:
    """Return the measurements behind a calibration in words; a fit to few rows states their number."""
    if kind == "carried":
        return _TRANSFERRED
    path = f"transfer/calibration-{device}.json"
    fits = results.record(path)["fits"]
    return f"{max(int(value(fit, 'rows', path)) for fit in fits)} rows of its own"


def _rows(table: ResultTable, device: str, calibrated_on: str) -> list[Row]:
    """Return the groups of a comparison by weight dtype and batch."""
    rows = []
    for row in table.rows:
        dtype, regime = (str(value(row, name, table.path)) for name in ("dtype", "regime"))
        if dtype != "all":
            words = {"dtype": word("dtype", dtype), "regime": word("regime", regime)}
            rows.append({"device": device, "fit": calibrated_on, **row} | words)
    return rows


def transfer(results: Results) -> Table:
    """Return GEMM errors with a transferred calibration and with few rows of the GPU's own."""
    results.require("compare/transfer-*.json")
    rows: list[Row] = []
    tables = []
    for kind in ("carried", "few"):
        for path in results.matching(f"compare/transfer-{kind}-*.json"):
            device = PurePosixPath(path).stem.removeprefix(f"transfer-{kind}-")
            tables.append(results.table(path))
            rows += _rows(tables[-1], device, _calibrated_on(results, kind, device))
    return Table(
        "transfer",
        "GEMMs of GPUs with a transferred calibration, or with a calibration on few rows",
        (
            Column("device", "device"),
            Column("fit", "calibrated on"),
            Column("dtype", "weights"),
            Column("regime", "shapes"),
            *_ERRORS,
            EVIDENCE,
        ),
        rows,
        joined({"measured": "silicon", "predicted": "calibrated as named"}),
        commits(tables),
        sources=[SOURCE],
        notes=[
            "A transferred calibration takes bandwidth, peak, number of SMs and L2 size from the datasheet. Within "
            "the GPU family (H200) it keeps the shape parameters of the kernels. Elsewhere it weights them with "
            "one quarter, next to the prior of the kernel model, and has a wider interval.",
            "The prior is a joint fit to training shapes of H100, B300, GB200 and GB300. It uses no row of a GPU "
            "that is scored here, but B300 and GB200 are similar to B200.",
            "H100 has no nvfp4, so the transferred nvfp4 calibration is the prior alone.",
            ROOFLINE_NOTE,
            FLOORS["repeat"],
        ],
    )
