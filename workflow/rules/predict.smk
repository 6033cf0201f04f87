"""Steps of deployments, turning points of Fig. 5 and laws on the paper's points, as `paper/sources/inputs.py` asks for them."""


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
        verb=lambda w: verb(f"steps/{w.name}.json"),
    shell:
        "python -m scylla_sim {params.verb} --calibration {input} --format json --out {output} > {log} 2>&1"


rule turning_points:
    input:
        lambda w: published(f"steps/fig5-{w.name}.json"),
    output:
        "results/steps/fig5-{name}.json",
    log:
        "results/logs/steps/fig5-{name}.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        verb=lambda w: verb(f"steps/fig5-{w.name}.json"),
    shell:
        "python -m scylla_sim {params.verb} --format json --out {output} > {log} 2>&1"


ruleorder: turning_points > predict_steps


rule laws:
    input:
        lambda w: published(f"laws/{w.name}.json"),
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
        verb=lambda w: verb(f"laws/{w.name}.json"),
    shell:
        "python -m scylla_sim {params.verb} --format json --out {output} > {log} 2>&1"
