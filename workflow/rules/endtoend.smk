"""Serving runs and cycles without a fit to them, and calibrations transferred to other GPUs."""

TRANSFERRED_TO = [d for d in DEVICES if d != SOURCE]

# Draft-verify cycles, each with the device whose calibration it takes.
CYCLE_DEVICES = {name: scenario["options"]["hardware"] for name, scenario in SCENARIOS["endtoend"].items()}

ENDTOEND = [
    "results/serving/runs.json",
    "results/serving/excluded.csv",
    "results/serving/closed-loops.json",
    "results/serving/closed-form.json",
    expand("results/compare/transfer-carried-{device}.json", device=TRANSFERRED_TO),
    expand("results/compare/transfer-few-{device}.json", device=[SOURCE, *TRANSFERRED_TO]),
    expand("results/transfer/calibration-{device}.json", device=[SOURCE, *TRANSFERRED_TO]),
    expand("results/endtoend/{case}.json", case=[*CYCLE_DEVICES, "engine-vllm"]),
    expand("results/served/{taus}.json", taus=SCENARIOS["served"]),
    "results/left-out/served.json",
]


# All runs in one job: nothing fitted to their group, and three scalars fitted to half of it.
rule serving_runs:
    input:
        "paper/published/closed_loops.csv",
    output:
        runs="results/serving/runs.csv",
        excluded="results/serving/excluded.csv",
        scored="results/serving/runs.json",
        published="results/serving/closed-loops.json",
    log:
        "results/logs/serving/runs.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
    shell:
        "python workflow/commands.py "
        "'gpu_validate silicon --device all --op end_to_end --excluded {output.excluded} --out {output.runs}' "
        "'scylla_sim tpot --runs {output.runs} --fit-others --fit-half --allow-long-context --format json "
        "--out {output.scored}' "
        "'scylla_sim tpot --runs {input} --allow-long-context --format json --out {output.published}' "
        "> {log} 2>&1"


rule closed_form_errors:
    input:
        "workflow/closed_form_errors.py",
    output:
        "results/serving/closed-form.json",
    log:
        "results/logs/serving/closed-form.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        requests=config["simulated_requests"],
    shell:
        "python workflow/closed_form_errors.py {output} {params.requests} > {log} 2>&1"


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
