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
    "results/laws/small-scale-joint-long.json",
    "results/laws/small-scale-profiles-long.json",
    expand("results/design/by-law-{tokens}.json", tokens=["1B", "10B", "100B"]),
]
# Records of --axis joint, one per seed: ten times the tokens, with the rank profile and trees of every draft.
LONG = [RECORDED_CPU.format(suite=f"joint-seed{seed}") for seed in (0,)]


wildcard_constraints:
    run="here|small",


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
        record=of_run("smallscale"),
        trained=of_run("trained"),
    output:
        acceptance="results/smallscale/{run}/acceptance.csv",
        ranks="results/smallscale/{run}/ranks.csv",
        verify="results/smallscale/{run}/verify.csv",
        loops="results/smallscale/{run}/loops.csv",
        repeat="results/smallscale/{run}/loops-repeat.csv",
        models=directory("results/smallscale/{run}/models"),
        optimum="results/smallscale/{run}/optimum.csv",
    log:
        "results/logs/smallscale/{run}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        options=lambda w, output: (
            f"--table loops --models {output.models} --device local --evidence {loops_evidence(w)}"
        ),
    shell:
        "python workflow/commands.py "
        "'gpu_validate curves --record {input.record} --table acceptance --out {output.acceptance}' "
        "'gpu_validate curves --record {input.record} --table ranks --out {output.ranks}' "
        "'gpu_validate curves --record {input.trained} --table verify --out {output.verify}' "
        "'gpu_validate curves --record {input.trained} {params.options} --out {output.loops}' "
        "'gpu_validate curves --record {input.trained} {params.options} --pass 2 --out {output.repeat}' "
        "'gpu_validate optimum --acceptance {output.acceptance} --verify {output.verify} --out {output.optimum}' "
        "> {log} 2>&1"


# The sweep of learning rates is a table of acceptance too, from a record of its own.
rule learning_rates:
    input:
        RECORDED_CPU.format(suite="rates"),
    output:
        "results/smallscale/small/rates.csv",
    log:
        "results/logs/smallscale/rates.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
    shell:
        "python -m gpu_validate curves --record {input} --table acceptance --out {output} > {log} 2>&1"


rule small_scale_laws:
    input:
        sorted({f"results/smallscale/{{run}}/{scenario['points']}" for scenario in SMALL_SCALE.values()}),
    output:
        expand("results/laws/small-scale-{what}-{{run}}.json", what=SMALL_SCALE),
    log:
        "results/logs/laws/small-scale-{run}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        commands=lambda w: [small_scale_law(what, w.run) for what in SMALL_SCALE],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"


rule long_training:
    input:
        records=LONG,
        script="workflow/score_profiles.py",
    output:
        acceptance="results/smallscale/long/acceptance.csv",
        profiles="results/smallscale/long/profiles.csv",
        trees="results/smallscale/long/trees.csv",
        joint="results/laws/small-scale-joint-long.json",
        scores="results/laws/small-scale-profiles-long.json",
    log:
        "results/logs/smallscale/long.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
        records=lambda w, input: ",".join(input.records),
        law=small_scale_law("joint", "long"),
    shell:
        "(python workflow/commands.py "
        "'gpu_validate curves --record {params.records} --table acceptance --out {output.acceptance}' "
        "'gpu_validate curves --record {params.records} --table profiles --out {output.profiles}' "
        "'gpu_validate curves --record {params.records} --table trees --out {output.trees}' "
        "{params.law:q} && python {input.script} {output.profiles} {output.trees} {output.scores}) > {log} 2>&1"


# The draft to train for a 7B by each law that Fig. 1 allows, for three budgets.
rule design_by_law:
    output:
        expand("results/design/by-law-{tokens}.json", tokens=["1B", "10B", "100B"]),
    log:
        "results/logs/design.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        commands=lambda w, output: [
            "scylla_sim design --hardware h100-sxm --model llama-2-7b --batch 1,16,64,256 --context 1024 "
            f"--law theorems,bounded,product --train-tokens {Path(path).stem.removeprefix('by-law-')} "
            f"--format json --out {path}"
            for path in output
        ],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"


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
        "python workflow/commands.py "
        "'gpu_validate rows --record {input} --part train --device local --evidence recorded "
        "--hardware {output.hardware} --out {output.rows}' "
        "'scylla_sim calibrate --measurements {output.rows} --device local --hardware {output.hardware} "
        '--source "gpu-validate measure" --evidence recorded --out {output.calibration}\' > {log} 2>&1'


rule score_loops:
    input:
        loops="results/smallscale/{run}/loops.csv",
        repeat="results/smallscale/{run}/loops-repeat.csv",
        models="results/smallscale/{run}/models",
        ranks="results/smallscale/{run}/ranks.csv",
        calibration=lambda w: (
            "results/calibration/local.json"
            if w.run == "here"
            else rules.calibrate_recorded_cpu.output.calibration
        ),
    output:
        predicted="results/predicted/trained-{run}.csv",
        compared="results/compare/trained-{run}.json",
    log:
        "results/logs/compare/trained-{run}.log",
    conda:
        "../../environment.yml"
    params:
        code=VALIDATOR,
        simulator=SIMULATOR,
        columns=LOOP_QUANTITIES,
    shell:
        "python workflow/commands.py "
        "'scylla_sim cycles --engine ideal --shapes {input.loops} --ranks {input.ranks} "
        "--calibration {input.calibration} --fit-overheads --out {output.predicted}' "
        "'gpu_validate compare --predicted {output.predicted} --measured {input.loops} --repeat {input.repeat} "
        "--columns {params.columns} --by half --best speedup --format json --out {output.compared}' "
        "> {log} 2>&1"
