"""Errors of the closed form of a served load against simulation, by share of saturation."""

from __future__ import annotations

from collections.abc import Sequence

from scylla_sim.planning.finalists import simulated, simulated_saturation
from scylla_sim.planning.traffic import Served, Traffic
from scylla_sim.planning.traffic_rows import LATENCIES, doubts_at, latencies
from scylla_sim.records import Row

SHARES = (0.1, 0.3, 0.5, 0.8, 0.9)
"""Shares of saturation."""
PER_REQUEST = "per request"
"""Latency of the rows at saturation: seconds between two requests that end."""


def error_rows(
    case: str,
    served: Served,
    traffic: Traffic,
    *,
    shares: Sequence[float] = SHARES,
    seeds: int = 3,
    count: int = 8000,
) -> list[Row]:
    """Return one row for each share of saturation, latency and statistic.

    Parameters
    ----------
    case
        Name of the deployment, a column of the rows.
    served
        The deployment; its limits do not matter.
    shares
        Shares of saturation, in (0, 1).
    seeds, count
        Simulated runs at each share, and requests of a run.

    Returns
    -------
    list of dict
        ``closed_form_s`` and ``simulated_s``, the ``relative_error`` of the first, and ``doubts``: reasons for
        which `scylla_sim.serving.replica.doubtful` does not trust the closed form. The last row has the latency
        `PER_REQUEST` at saturation.
    """
    found: list[Row] = []
    for share in shares:
        rate = share * served.saturation_per_s
        formula = latencies(served, rate)
        run = simulated(served, traffic, rate, seeds=seeds, count=count)
        doubts = ", ".join(doubts_at(served, traffic, rate))
        for latency in ("tpot", "ttft"):
            for name in LATENCIES:
                value, reference = formula[f"{latency}_{name}_s"], run[f"{latency}_s {name}"]
                found.append(
                    {
                        "case": case,
                        "share": share,
                        "rate_per_s": rate,
                        "latency": latency,
                        "statistic": name,
                        "closed_form_s": value,
                        "simulated_s": reference,
                        "relative_error": value / reference - 1.0,
                        "doubts": doubts,
                    }
                )
    value, reference = 1.0 / served.saturation_per_s, 1.0 / simulated_saturation(served, traffic)
    found.append(
        {
            "case": case,
            "share": 1.0,
            "rate_per_s": served.saturation_per_s,
            "latency": PER_REQUEST,
            "statistic": "mean",
            "closed_form_s": value,
            "simulated_s": reference,
            "relative_error": value / reference - 1.0,
            "doubts": ", ".join(doubts_at(served, traffic, served.saturation_per_s)),
        }
    )
    return found
