"""Serving runs and cycles without a fit to them, and calibrations transferred to other GPUs."""

RUN_DEVICES = [SOURCE, *(d for d in ["h200-sxm", "b200-sxm"] if d in DEVICES)]
TRANSFERRED_TO = [d for d in DEVICES if d != SOURCE]

# Draft-verify cycles, each with the device whose calibration it takes.
CYCLE_DEVICES = {name: scenario["options"]["hardware"] for name, scenario in SCENARIOS["endtoend"].items()}

ENDTOEND = [
    expand(
        "results/compare/endtoend-{device}-all-{scalars}.json", device=RUN_DEVICES, scalars=["unfitted", "fitted"]
    ),
    f"results/compare/endtoend-{SOURCE}-bfloat16-fitted.json",
    expand("results/compare/transfer-carried-{device}.json", device=TRANSFERRED_TO),
    expand("results/compare/transfer-few-{device}.json", device=[SOURCE, *TRANSFERRED_TO]),
    expand("results/transfer/calibration-{device}.json", device=[SOURCE, *TRANSFERRED_TO]),
    expand("results/endtoend/{case}.json", case=[*CYCLE_DEVICES, "engine-vllm"]),
    expand("results/served/{taus}.json", taus=SCENARIOS["served"]),
    "results/left-out/served.json",
]


wildcard_constraints:
    scalars="unfitted|fitted",
    precision="all|bfloat16",


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


rule score_serving_runs:
    input:
        runs="results/silicon/{device}/runs-{precision}.csv",
        calibration="results/calibration/{device}.json",
    output:
        predicted="results/endtoend/{device}-{precision}-{scalars}.csv",
        compared="results/compare/endtoend-{device}-{precision}-{scalars}.json",
    log:
        "results/logs/compare/endtoend-{device}-{precision}-{scalars}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
        fit=lambda w: "--fit-half" if w.scalars == "fitted" else "",
        by=lambda w: "half,engine" if w.scalars == "fitted" else "engine,checkpoint,dtype",
    shell:
        "python workflow/commands.py "
        "'scylla_sim tpot --runs {input.runs} --calibration {input.calibration} {params.fit} "
        "--out {output.predicted}' "
        "'gpu_validate compare --predicted {output.predicted} --measured {output.predicted} --by {params.by} "
        "--format json --out {output.compared}' > {log} 2>&1"


rule cycles:
    input:
        expand("results/calibration/{device}.json", device=sorted(set(CYCLE_DEVICES.values()))),
    output:
        expand("results/endtoend/{case}.json", case=CYCLE_DEVICES),
        "results/endtoend/engine-vllm.json",
    log:
        "results/logs/endtoend/cycles.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        commands=[
            *(
                f"scylla_sim {simulator('endtoend', case)} --calibration results/calibration/{device}.json "
                f"--format json --out results/endtoend/{case}.json"
                for case, device in CYCLE_DEVICES.items()
            ),
            "scylla_sim catalog engines vllm-2025 --format json --out results/endtoend/engine-vllm.json",
        ],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"


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


rule calibrate_few:
    input:
        few="results/silicon/{device}/gemm-few.csv",
        measured="results/silicon/{device}/gemm-test.csv",
        repeat="results/silicon/{device}/gemm-repeat.csv",
    output:
        calibration="results/transfer/calibration-{device}.json",
        predicted="results/transfer/few-{device}.csv",
        compared="results/compare/transfer-few-{device}.json",
    log:
        "results/logs/transfer/few-{device}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
        commands=lambda w, input, output: [
            f"scylla_sim calibrate --measurements {input.few} --device {w.device} "
            f"--source aiconfigurator-core --out {output.calibration}",
            *transfer(w.device, output.calibration, "few"),
        ],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"


rule transfer_calibration:
    input:
        expand("results/silicon/{device}/gemm-{part}.csv", device=TRANSFERRED_TO, part=["test", "repeat"]),
        calibration=f"results/calibration/{SOURCE}.json",
    output:
        expand("results/transfer/carried-{device}.csv", device=TRANSFERRED_TO),
        expand("results/compare/transfer-carried-{device}.json", device=TRANSFERRED_TO),
    log:
        "results/logs/transfer/carried.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
        commands=lambda w, input: [
            command for device in TRANSFERRED_TO for command in transfer(device, input.calibration, "carried")
        ],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"
