"""This machine or a recorded one: measure, calibrate on one part of the shapes, predict and score the other."""

# Nothing is fitted to steps and cycles, so all of them are scored, next to a second pass over the same grid.
COMPARED = {
    "kernels": "--by op",
    "step": "--by model,dtype --repeat results/measure/step-repeat.csv",
    "specdecode": "--columns plain_step_s,draft_s,verify_s,cycle_s,tokens_per_s,speedup --best speedup --by graph "
    "--repeat results/measure/specdecode-repeat.csv",
}
# Suites that are measured in two passes.
REPEATED = ["step", "specdecode"]
VERBS = {"kernels": "kernels", "step": "steps --engine ideal", "specdecode": "cycles --engine ideal"}
# Record of a suite, by the setting `measurements`. Snakemake's own `branch` with `lookup` imports pandas in every run.
MEASURED_RECORD = {
    "live": "results/measured/{suite}.json",
    "recorded": f"gpu_validate/recorded/{config['recorded_device']}/{{suite}}.json",
}[config["measurements"]]
EVIDENCE_OF_RUN = f"--evidence {config['measurements']}"


rule measure:
    output:
        "results/measured/{suite}.json",
    log:
        "results/logs/measured/{suite}.log",
    wildcard_constraints:
        suite="kernels|step|specdecode",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=1,
    params:
        code=VALIDATOR,
        device=config["device"],
        scale=config["scale"],
    shell:
        "python -m gpu_validate measure --suite {wildcards.suite} --device {params.device} --scale {params.scale} "
        "--out results/measured > {log} 2>&1"


rule record:
    input:
        MEASURED_RECORD,
    output:
        "results/measure/{suite}.json",
    log:
        "results/logs/measure/{suite}.log",
    conda:
        "../../environment.yml"
    shell:
        "cp {input} {output} 2> {log}"


rule measured_rows:
    input:
        expand("results/measure/{suite}.json", suite=COMPARED),
    output:
        rows="results/measure/kernels-train.csv",
        hardware="results/measure/hardware.toml",
        test=expand("results/measure/{suite}-test.csv", suite=COMPARED),
        repeat=expand("results/measure/{suite}-repeat.csv", suite=REPEATED),
    log:
        "results/logs/measure/rows.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        commands=lambda w, output: [
            measured_rows("kernels", "train", f"--part train {EVIDENCE_OF_RUN} --hardware {output.hardware}"),
            measured_rows("kernels", "test", f"--part test {EVIDENCE_OF_RUN}"),
            *(measured_rows(suite, "test", f"--part all {EVIDENCE_OF_RUN}") for suite in REPEATED),
            *(measured_rows(suite, "repeat", "--pass 2") for suite in REPEATED),
        ],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"


rule calibrate_local:
    input:
        rows="results/measure/kernels-train.csv",
        hardware="results/measure/hardware.toml",
    output:
        "results/calibration/local.json",
    log:
        "results/logs/calibrate/local.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        evidence=config["measurements"],
    shell:
        "python -m scylla_sim calibrate --measurements {input.rows} --device local --hardware {input.hardware} "
        "--source 'gpu-validate measure' --evidence {params.evidence} --out {output} > {log} 2>&1"


rule score_local:
    input:
        expand("results/measure/{suite}-test.csv", suite=COMPARED),
        expand("results/measure/{suite}-repeat.csv", suite=REPEATED),
        calibration="results/calibration/local.json",
    output:
        expand("results/predicted/local/{suite}.csv", suite=COMPARED),
        expand("results/compare/local-{suite}.json", suite=COMPARED),
    log:
        "results/logs/compare/local.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
        commands=lambda w, input: [
            command for suite in COMPARED for command in score_local(suite, input.calibration)
        ],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"
