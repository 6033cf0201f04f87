"""Simulator runs of `config/scenarios.yaml`: steps of deployments, compute-bound crossovers of Fig. 5, acceptance laws."""


rule predict_steps:
    input:
        [published("steps", name) for name in SCENARIOS["steps"]],
        calibration="results/calibration/h100-sxm.json",
    output:
        expand("results/steps/{name}.json", name=SCENARIOS["steps"]),
    log:
        "results/logs/steps.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        # the crossovers of Fig. 5 have calibrations of their own
        commands=lambda w, input: [
            scenario_command(
                "steps", name, "" if name.startswith("fig5-") else f"--calibration {input.calibration} "
            )
            for name in SCENARIOS["steps"]
        ],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"


rule laws:
    input:
        [published("laws", name) for name in SCENARIOS["laws"]],
    output:
        expand("results/laws/{name}.json", name=SCENARIOS["laws"]),
    log:
        "results/logs/laws.log",
    conda:
        "../../environment.yml"
    params:
        code=SIMULATOR,
        commands=[scenario_command("laws", name) for name in SCENARIOS["laws"]],
    shell:
        "python workflow/commands.py {params.commands:q} > {log} 2>&1"
