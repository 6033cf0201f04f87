"""Simulator runs of `config/scenarios.yaml`: steps of deployments, compute-bound crossovers of Fig. 5, acceptance laws."""


rule predict_steps:
    input:
        "results/calibration/h100-sxm.json",
    output:
        "results/steps/{name}.json",
    log:
        "results/logs/steps/{name}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        arguments=lambda w: simulator("steps", w.name),
    shell:
        "python -m scylla_sim {params.arguments} --calibration {input} --format json --out {output} > {log} 2>&1"


rule crossovers:
    input:
        lambda w: published("steps", f"fig5-{w.name}"),
    output:
        "results/steps/fig5-{name}.json",
    log:
        "results/logs/steps/fig5-{name}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        arguments=lambda w: simulator("steps", f"fig5-{w.name}"),
    shell:
        "python -m scylla_sim {params.arguments} --format json --out {output} > {log} 2>&1"


ruleorder: crossovers > predict_steps


rule laws:
    input:
        lambda w: published("laws", w.name),
    output:
        "results/laws/{name}.json",
    log:
        "results/logs/laws/{name}.log",
    wildcard_constraints:
        name="(?!small-scale-).+",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        arguments=lambda w: simulator("laws", w.name),
    shell:
        "python -m scylla_sim {params.arguments} --format json --out {output} > {log} 2>&1"
