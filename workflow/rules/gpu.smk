"""GPUs with committed records: score the blind predictions, calibrate on one part of the kernels, predict again.

Each GPU has rules of its own, because GPUs have different suites.
"""

GPU_COMPARED = {
    "kernels": "--by op,dtype,kernel_source",
    "step": "--by role,model,dtype,batch --where graph=1",
    "specdecode": "--columns plain_step_s,draft_s,verify_s,cycle_s,tokens_per_s,speedup --best speedup "
    "--where graph=1",
    "decode": "--columns plain_step_s,cycle_s,tokens_per_s,speedup",
}
GPU_VERBS = {"kernels": "kernels", "step": "steps --engine ideal"}
# Kernels that whole steps run. Only these are calibrated, and nothing is fitted to a step or a cycle.
GPU_KERNELS = "torch_linear,torch_scaled_mm,triton_split_kv,torch_flash_prompt"


GPU_EVIDENCE = [[*gpu_copies(gpu), *gpu_scores(gpu)] for gpu in GPU_SUITES]


if LOOP_GPU:

    rule gpu_loop:
        input:
            f"results/gpu/{LOOP_GPU}/step.csv",
            f"results/gpu/{LOOP_GPU}/specdecode.csv",
        output:
            LOOP,
        log:
            "results/logs/gpu/loop.log",
        conda:
            "../../environment.yml"
        params:
            code=SIMULATOR,
        shell:
            "python workflow/fit_loop.py {input} {output} > {log} 2>&1"


for gpu in GPU_SUITES:

    rule:
        name:
            f"gpu_rows_{gpu.replace('-', '_')}"
        input:
            *gpu_copies(gpu).values(),
        output:
            *gpu_copies(gpu),
            tables=gpu_tables(gpu),
        log:
            f"results/logs/gpu/{gpu}-rows.log",
        conda:
            "../../environment.yml"
        params:
            code=VALIDATOR,
            copies=[f"cp {made} {copy} &&" for copy, made in gpu_copies(gpu).items()],
            commands=gpu_rows(gpu),
        shell:
            "({params.copies} python workflow/commands.py {params.commands:q}) > {log} 2>&1"

    if "kernels" in GPU_SUITES[gpu]:

        rule:
            name:
                f"gpu_calibrate_{gpu.replace('-', '_')}"
            input:
                f"results/gpu/{gpu}/kernels-train.csv",
            output:
                f"results/gpu/{gpu}/calibration.json",
            log:
                f"results/logs/gpu/{gpu}-calibrate.log",
            conda:
                "../../environment.yml"
            params:
                code=SIMULATOR,
                gpu=gpu,
            shell:
                "python -m scylla_sim calibrate --measurements {input} --device {params.gpu} --base {params.gpu} "
                "--evidence recorded --source 'gpu-validate campaign' --out {output} > {log} 2>&1"

    rule:
        name:
            f"gpu_score_{gpu.replace('-', '_')}"
        input:
            gpu_tables(gpu),
            [f"results/gpu/{gpu}/calibration.json" for suite in GPU_SUITES[gpu] if suite == "kernels"],
            [LOOP for _ in loop_predictions(gpu)][:1],
            [
                path
                for suite in GPU_SUITES[gpu]
                for name, path in gpu_predictions(gpu, suite).items()
                if name == "blind"
            ],
        output:
            gpu_scores(gpu),
        log:
            f"results/logs/gpu/{gpu}-score.log",
        conda:
            "../../environment.yml"
        params:
            code=VALIDATOR,
            simulator=SIMULATOR,
            commands=[
                *(command for suite in GPU_SUITES[gpu] for command in score_gpu(gpu, suite)),
                *gpu_parts(gpu),
            ],
        shell:
            "python workflow/commands.py {params.commands:q} > {log} 2>&1"
