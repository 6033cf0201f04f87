"""Workflow from measured kernels to the tables, figures and claims of the paper.

`snakemake` makes all of it, and `snakemake -n` shows the plan.
"""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.3")


configfile: "workflow/config/config.yaml"


sys.path[:0] = [workflow.basedir, f"{workflow.basedir}/workflow"]
import disk
import guard
import killed_run
import scenarios
import sweeps

guard.check_config(config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml")
suites = ["kernels", "step", "specdecode", *(["smallscale", "trained"] if "here" in config["smallscale"] else [])]
guard.check_records(config, Path("gpu_validate/recorded"), suites)
guard.check_blind(Path("gpu_validate/recorded") / guard.BLIND)
if workflow.exec_mode.name == "DEFAULT":
    guard.check_gpu_records(Path("gpu_validate/recorded"))
    disk.check(Path("results"))
    if guard.release_stale_lock(Path(".snakemake")):
        killed_run.wait_for_measurements(Path("results/measured"))
        killed_run.keep_finished(Path(".snakemake"), Path("results/measured"))


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/commands.smk"
include: "workflow/rules/silicon.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/gpu.smk"
include: "workflow/rules/endtoend.smk"
include: "workflow/rules/smallscale.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/sweeps.smk"


rule all:
    default_target: True
    input:
        EVIDENCE,
        PAPER,
