"""This machine (or a recorded one): measure, calibrate on one part of the shapes, predict and score on the other."""


rule measure:
    output:
        "results/measure/{suite}.json",
        "results/measure/{suite}.toml",
    log:
        "results/logs/measure/{suite}.log",
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
        "--out results/measure > {log} 2>&1"
