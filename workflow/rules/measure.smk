"""This machine or a recorded one: measure, calibrate on one part of the shapes, predict and score the other."""

# Nothing is fitted to steps and cycles, so all of them are scored, next to a second pass over the same grid.
COMPARED = {
    "kernels": "--by op",
    "step": "--by model,dtype --repeat results/measure/step-repeat.csv",
    "specdecode": "--columns plain_step_s,draft_s,verify_s,cycle_s,tokens_per_s,speedup --best speedup --by graph "
    "--repeat results/measure/specdecode-repeat.csv",
}


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
        branch(
            lookup(dpath="measurements", within=config),
            cases={
                "live": "results/measured/{suite}.json",
                "recorded": f"gpu_validate/recorded/{config['recorded_device']}/{{suite}}.json",
            },
        ),
    output:
        "results/measure/{suite}.json",
    log:
        "results/logs/measure/{suite}.log",
    conda:
        "../../environment.yml"
    shell:
        "cp {input} {output} 2> {log}"


rule calibration_rows:
    input:
        "results/measure/kernels.json",
    output:
        rows="results/measure/kernels-train.csv",
        hardware="results/measure/hardware.toml",
    log:
        "results/logs/measure/kernels-train.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        evidence=config["measurements"],
    shell:
        "python -m gpu_validate rows --record {input} --part train --device local --hardware {output.hardware} "
        "--evidence {params.evidence} --out {output.rows} > {log} 2>&1"


rule scored_rows:
    input:
        "results/measure/{suite}.json",
    output:
        "results/measure/{suite}-test.csv",
    log:
        "results/logs/measure/{suite}-test.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        part=lambda w: {"kernels": "test"}.get(w.suite, "all"),
        evidence=config["measurements"],
    shell:
        "python -m gpu_validate rows --record {input} --part {params.part} --device local "
        "--evidence {params.evidence} --out {output} > {log} 2>&1"


rule repeated_rows:
    input:
        "results/measure/{suite}.json",
    output:
        "results/measure/{suite}-repeat.csv",
    log:
        "results/logs/measure/{suite}-repeat.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
    shell:
        "python -m gpu_validate rows --record {input} --pass 2 --device local --out {output} > {log} 2>&1"


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


rule predict_local:
    input:
        shapes="results/measure/{suite}-test.csv",
        calibration="results/calibration/local.json",
    output:
        "results/predicted/local/{suite}.csv",
    log:
        "results/logs/predicted/local-{suite}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        verb=lambda w: {
            "kernels": "kernels",
            "step": "steps --engine ideal",
            "specdecode": "cycles --engine ideal",
        }[w.suite],
    shell:
        "python -m scylla_sim {params.verb} --shapes {input.shapes} --calibration {input.calibration} "
        "--out {output} > {log} 2>&1"


rule compare_local:
    input:
        predicted="results/predicted/local/{suite}.csv",
        measured="results/measure/{suite}-test.csv",
        repeat=lambda w: [word for word in COMPARED[w.suite].split() if word.endswith("-repeat.csv")],
    output:
        "results/compare/local-{suite}.json",
    log:
        "results/logs/compare/local-{suite}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        options=lambda w: COMPARED[w.suite],
    shell:
        "python -m gpu_validate compare --predicted {input.predicted} --measured {input.measured} {params.options} "
        "--format json --out {output} > {log} 2>&1"
