"""Serving runs and cycles without a fit to them, and calibrations transferred to other GPUs."""

SOURCE = "h100-sxm"
RUN_DEVICES = [SOURCE, *(d for d in ["h200-sxm", "b200-sxm"] if d in DEVICES)]
TRANSFERRED_TO = [d for d in DEVICES if d != SOURCE]
# Rows of each precision with which a GPU is calibrated on few measurements of its own.
FEW_ROWS = 32

ENDTOEND = [
    expand(
        "results/compare/endtoend-{device}-all-{scalars}.json", device=RUN_DEVICES, scalars=["unfitted", "fitted"]
    ),
    f"results/compare/endtoend-{SOURCE}-bfloat16-fitted.json",
    expand("results/compare/transfer-carried-{device}.json", device=TRANSFERRED_TO),
    expand("results/compare/transfer-few-{device}.json", device=[SOURCE, *TRANSFERRED_TO]),
    expand("results/transfer/calibration-{device}.json", device=[SOURCE, *TRANSFERRED_TO]),
    expand("results/endtoend/{case}.json", case=[*SCENARIOS["endtoend"], "engine-vllm"]),
    expand("results/served/{taus}.json", taus=SCENARIOS["served"]),
    "results/left-out/served.json",
]


wildcard_constraints:
    scalars="unfitted|fitted",
    precision="all|bfloat16",
    fit="carried|few",
    case="specbundle-[0-9]-[0-9]|ladder-[a-z0-9]+-(sglang|vllm)",


rule serving_runs:
    output:
        "results/silicon/{device}/runs-{precision}.csv",
    log:
        "results/logs/silicon/{device}-runs-{precision}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        dtype=lambda w: "" if w.precision == "all" else f"--dtype {w.precision}",
    shell:
        "python -m gpu_validate silicon --device {wildcards.device} --op end_to_end {params.dtype} "
        "--out {output} > {log} 2>&1"


rule predict_serving_runs:
    input:
        runs="results/silicon/{device}/runs-{precision}.csv",
        calibration="results/calibration/{device}.json",
    output:
        "results/endtoend/{device}-{precision}-{scalars}.csv",
    log:
        "results/logs/endtoend/{device}-{precision}-{scalars}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        fit=lambda w: "--fit-half" if w.scalars == "fitted" else "",
    shell:
        "python -m scylla_sim tpot --runs {input.runs} --calibration {input.calibration} {params.fit} "
        "--out {output} > {log} 2>&1"


rule compare_serving_runs:
    input:
        "results/endtoend/{device}-{precision}-{scalars}.csv",
    output:
        "results/compare/endtoend-{device}-{precision}-{scalars}.json",
    log:
        "results/logs/compare/endtoend-{device}-{precision}-{scalars}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        by=lambda w: "half,engine" if w.scalars == "fitted" else "engine,checkpoint,dtype",
    shell:
        "python -m gpu_validate compare --predicted {input} --measured {input} --by {params.by} "
        "--format json --out {output} > {log} 2>&1"


rule cycles:
    input:
        lambda w: f"results/calibration/{SCENARIOS['endtoend'][w.case]['options']['hardware']}.json",
    output:
        "results/endtoend/{case}.json",
    log:
        "results/logs/endtoend/{case}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        arguments=lambda w: simulator("endtoend", w.case),
    shell:
        "python -m scylla_sim {params.arguments} --calibration {input} --format json --out {output} > {log} 2>&1"


rule served_runs:
    input:
        lambda w: published("served", w.taus),
    output:
        "results/served/{taus}.json",
    log:
        "results/logs/served/{taus}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        arguments=lambda w: simulator("served", w.taus),
    shell:
        "python -m scylla_sim {params.arguments} --format json --out {output} > {log} 2>&1"


rule served_left_out:
    input:
        "workflow/left_out.py",
        "workflow/overhead_fit.py",
        "workflow/overhead_rows.py",
        "workflow/fit_between_sources.py",
        "paper/sources/served_runs.py",
        runs="results/served/runs.json",
    output:
        "results/left-out/served.json",
    log:
        "results/logs/left-out/served.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
    shell:
        "python workflow/left_out.py {input.runs} paper/published {output} > {log} 2>&1"


rule engine_values:
    output:
        "results/endtoend/engine-vllm.json",
    log:
        "results/logs/endtoend/engine-vllm.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
    shell:
        "python -m scylla_sim catalog engines vllm-2025 --format json --out {output} > {log} 2>&1"


rule few_rows:
    output:
        "results/silicon/{device}/gemm-few.csv",
    log:
        "results/logs/silicon/{device}-gemm-few.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        rows=FEW_ROWS,
    shell:
        "python -m gpu_validate silicon --device {wildcards.device} --op gemm --part train --rows {params.rows} "
        "--out {output} > {log} 2>&1"


rule calibrate_few:
    input:
        "results/silicon/{device}/gemm-few.csv",
    output:
        "results/transfer/calibration-{device}.json",
    log:
        "results/logs/calibrate/{device}-few.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
    shell:
        "python -m scylla_sim calibrate --measurements {input} --device {wildcards.device} "
        "--source aiconfigurator-core --out {output} > {log} 2>&1"


rule predict_transfer:
    input:
        shapes="results/silicon/{device}/gemm-test.csv",
        calibration=lambda w: (
            f"results/calibration/{SOURCE}.json"
            if w.fit == "carried"
            else f"results/transfer/calibration-{w.device}.json"
        ),
    output:
        "results/transfer/{fit}-{device}.csv",
    log:
        "results/logs/transfer/{fit}-{device}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
    shell:
        "python -m scylla_sim kernels --carry --shapes {input.shapes} --calibration {input.calibration} "
        "--out {output} > {log} 2>&1"


rule compare_transfer:
    input:
        predicted="results/transfer/{fit}-{device}.csv",
        measured="results/silicon/{device}/gemm-test.csv",
        repeat="results/silicon/{device}/gemm-repeat.csv",
    output:
        "results/compare/transfer-{fit}-{device}.json",
    log:
        "results/logs/compare/transfer-{fit}-{device}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
    shell:
        "python -m gpu_validate compare --predicted {input.predicted} --measured {input.measured} "
        "--repeat {input.repeat} --by dtype,regime --format json --out {output} > {log} 2>&1"
