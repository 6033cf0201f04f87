"""Acceptance laws from trained drafts: train or read the record, fit the laws, and compare predicted with measured loops."""

# here: trained by this run on this machine; small: trained earlier on a CPU and committed
RUNS = config["smallscale"]
SMALL_SCALE = SCENARIOS["small-scale"]
LOOP_QUANTITIES = "tokens_per_cycle,plain_step_s,cycle_s,tokens_per_s,speedup"

SMALLSCALE = [
    expand("results/laws/small-scale-{what}-{run}.json", what=SMALL_SCALE, run=RUNS),
    expand("results/smallscale/{run}/{table}.csv", table=["acceptance", "optimum"], run=RUNS),
    expand("results/compare/trained-{run}.json", run=RUNS),
    "results/smallscale/small/rates.csv",
]


wildcard_constraints:
    run="here|small",
    what="[a-z-]+",


rule train:
    output:
        record="results/measured/smallscale.json",
        weights=directory("results/measured/weights"),
    log:
        "results/logs/measured/smallscale.log",
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
        "python -m gpu_validate train --device {params.device} --scale {params.scale} --jobs {threads} "
        "--out results/measured > {log} 2>&1"


rule measure_trained:
    input:
        "results/measured/weights",
    output:
        "results/measured/trained.json",
    log:
        "results/logs/measured/trained.log",
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
        "python -m gpu_validate measure --suite trained --weights {input} --device {params.device} "
        "--scale {params.scale} --out results/measured > {log} 2>&1"


rule training_curves:
    input:
        lambda w: of_run("smallscale")(w) if w.table != "rates" else RECORDED_CPU.format(suite="rates"),
    output:
        "results/smallscale/{run}/{table}.csv",
    log:
        "results/logs/smallscale/{run}-{table}.log",
    wildcard_constraints:
        table="acceptance|ranks|rates",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        # the sweep of learning rates is a table of acceptance too, from a record of its own
        table=lambda w: w.table.replace("rates", "acceptance"),
    shell:
        "python -m gpu_validate curves --record {input} --table {params.table} --out {output} > {log} 2>&1"


rule trained_loops:
    input:
        of_run("trained"),
    output:
        verify="results/smallscale/{run}/verify.csv",
        loops="results/smallscale/{run}/loops.csv",
        repeat="results/smallscale/{run}/loops-repeat.csv",
        models=directory("results/smallscale/{run}/models"),
    log:
        "results/logs/smallscale/{run}-loops.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        options=lambda w, output: (
            f"--table loops --models {output.models} --device local --evidence {loops_evidence(w)}"
        ),
    shell:
        "(python -m gpu_validate curves --record {input} --table verify --out {output.verify} && "
        "python -m gpu_validate curves --record {input} {params.options} --out {output.loops} && "
        "python -m gpu_validate curves --record {input} {params.options} --pass 2 --out {output.repeat}) "
        "> {log} 2>&1"


rule optimum:
    input:
        acceptance="results/smallscale/{run}/acceptance.csv",
        verify="results/smallscale/{run}/verify.csv",
    output:
        "results/smallscale/{run}/optimum.csv",
    log:
        "results/logs/smallscale/{run}-optimum.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
    shell:
        "python -m gpu_validate optimum --acceptance {input.acceptance} --verify {input.verify} --out {output} "
        "> {log} 2>&1"


rule small_scale_laws:
    input:
        lambda w: f"results/smallscale/{w.run}/{SMALL_SCALE[w.what]['points']}",
    output:
        "results/laws/small-scale-{what}-{run}.json",
    log:
        "results/logs/laws/small-scale-{what}-{run}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        arguments=lambda w, input: scenarios.command(SMALL_SCALE[w.what], points=input[0]),
    shell:
        "python -m scylla_sim {params.arguments} --evidence small-scale --format json --out {output} > {log} 2>&1"


rule calibrate_recorded_cpu:
    input:
        RECORDED_CPU.format(suite="kernels"),
    output:
        rows="results/smallscale/small/kernels.csv",
        hardware="results/smallscale/small/hardware.toml",
        calibration="results/smallscale/small/calibration.json",
    log:
        "results/logs/smallscale/small-calibration.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
    shell:
        "(python -m gpu_validate rows --record {input} --part train --device local --evidence recorded "
        "--hardware {output.hardware} --out {output.rows} && "
        "python -m scylla_sim calibrate --measurements {output.rows} --device local --hardware {output.hardware} "
        "--source 'gpu-validate measure' --evidence recorded --out {output.calibration}) > {log} 2>&1"


rule predict_loops:
    input:
        loops="results/smallscale/{run}/loops.csv",
        models="results/smallscale/{run}/models",
        ranks="results/smallscale/{run}/ranks.csv",
        calibration=lambda w: (
            "results/calibration/local.json"
            if w.run == "here"
            else rules.calibrate_recorded_cpu.output.calibration
        ),
    output:
        "results/predicted/trained-{run}.csv",
    log:
        "results/logs/predicted/trained-{run}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
    shell:
        "python -m scylla_sim cycles --engine ideal --shapes {input.loops} --ranks {input.ranks} "
        "--calibration {input.calibration} "
        "--fit-overheads --out {output} > {log} 2>&1"


rule compare_loops:
    input:
        predicted="results/predicted/trained-{run}.csv",
        measured="results/smallscale/{run}/loops.csv",
        repeat="results/smallscale/{run}/loops-repeat.csv",
    output:
        "results/compare/trained-{run}.json",
    log:
        "results/logs/compare/trained-{run}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        columns=LOOP_QUANTITIES,
    shell:
        "python -m gpu_validate compare --predicted {input.predicted} --measured {input.measured} "
        "--repeat {input.repeat} --columns {params.columns} --by half --best speedup --format json "
        "--out {output} > {log} 2>&1"
