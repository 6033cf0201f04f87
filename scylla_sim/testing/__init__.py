"""Laws as checks, and Hypothesis strategies, for tests of new hardware, models, operations, laws and engines.

Each ``check_...`` takes one object and raises `AssertionError` that names the broken law and an example. The
strategies are in `scylla_sim.testing.strategies` and need Hypothesis (``pip install "scylla-sim[testing]"``).

Examples
--------
>>> from scylla_sim.specs import catalog
>>> check_hardware(catalog.hardware("l40s"))
"""

from scylla_sim.testing.acceptance import check_profile, check_tree
from scylla_sim.testing.engines import check_engine
from scylla_sim.testing.hardware import check_hardware
from scylla_sim.testing.kernels import check_calibration, check_kernel, check_kernel_model, check_operation
from scylla_sim.testing.laws import check_law, check_position_law
from scylla_sim.testing.models import check_draft, check_model
from scylla_sim.testing.predictions import check_deployment, check_speculation
from scylla_sim.testing.requirement import require
from scylla_sim.testing.serving import check_replica, check_workload

__all__ = [
    "check_calibration",
    "check_deployment",
    "check_draft",
    "check_engine",
    "check_hardware",
    "check_kernel",
    "check_kernel_model",
    "check_law",
    "check_model",
    "check_operation",
    "check_position_law",
    "check_profile",
    "check_replica",
    "check_speculation",
    "check_tree",
    "check_workload",
    "require",
]
