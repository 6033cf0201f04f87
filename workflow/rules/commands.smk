"""Lists of commands for jobs with several commands, which `workflow/commands.py` runs in one process."""


def silicon_tables(device, part):
    """Return the tables of one part of the split on a device."""
    without = WITHOUT_REPEAT if part == "repeat" else []
    return [f"results/silicon/{device}/{op}-{part}.csv" for op in ops_of(device) if (device, op) not in without]


def export_tables(device, *parts):
    """Return the commands that write the tables of some parts of the split on a device."""
    return [
        f"gpu_validate silicon --device {device} {table_of(device, op)} --part {part} "
        + (f"--rows {train_rows_of(op)} " if part == "train" else "")
        + f"--out results/silicon/{device}/{op}-{part}.csv"
        for op in ops_of(device)
        for part in parts
        if part != "repeat" or (device, op) not in WITHOUT_REPEAT
    ]


def score_table(device, op, *, fallback=False):
    """Return the commands that predict the test part of a table and compare it with its measurements.

    With ``fallback``, the device is predicted as if this operation had not been measured.
    """
    predicted = f"results/predicted/{device}/{op}{'-stand-in' if fallback else ''}.csv"
    test, repeat = (f"results/silicon/{device}/{op}-{part}.csv" for part in ("test", "repeat"))
    name = f"{'stand-in' if fallback else 'silicon'}-{device}-{op}"
    repeated = "" if fallback or (device, op) in WITHOUT_REPEAT else f"--repeat {repeat} "
    return [
        f"scylla_sim kernels --shapes {test} --calibration results/calibration/{device}.json "
        f"{f'--without {op} ' if fallback else ''}--out {predicted}",
        f"gpu_validate compare --predicted {predicted} --measured {test} {repeated}"
        f"--by {SCORED_BY[op.partition('-')[0]]} --format json --out results/compare/{name}.json",
    ]


def transfer(device, calibration, fit):
    """Return the commands that predict the GEMMs of a device with a calibration and compare them."""
    predicted = f"results/transfer/{fit}-{device}.csv"
    test, repeat = (f"results/silicon/{device}/gemm-{part}.csv" for part in ("test", "repeat"))
    return [
        f"scylla_sim kernels --carry --shapes {test} --calibration {calibration} --out {predicted}",
        f"gpu_validate compare --predicted {predicted} --measured {test} --repeat {repeat} --by dtype,regime "
        f"--format json --out results/compare/transfer-{fit}-{device}.json",
    ]


def scenario_command(section, name, options=""):
    """Return the command of a scenario, which writes its result file."""
    return f"scylla_sim {simulator(section, name)} {options}--format json --out results/{section}/{name}.json"


def measured_rows(suite, part, options):
    """Return the command that writes a part of a record of this run as rows."""
    return (
        f"gpu_validate rows --record results/measure/{suite}.json --device local {options} "
        f"--out results/measure/{suite}-{part}.csv"
    )


def score_local(suite, calibration):
    """Return the commands that predict a suite of this run and compare it with its measurements."""
    predicted, measured = f"results/predicted/local/{suite}.csv", f"results/measure/{suite}-test.csv"
    return [
        f"scylla_sim {VERBS[suite]} --shapes {measured} --calibration {calibration} --out {predicted}",
        f"gpu_validate compare --predicted {predicted} --measured {measured} {COMPARED[suite]} --format json "
        f"--out results/compare/local-{suite}.json",
    ]


def small_scale_law(what, run):
    """Return the command that fits one law to the trained drafts of a run."""
    arguments = scenarios.command(
        SMALL_SCALE[what], points=f"results/smallscale/{run}/{SMALL_SCALE[what]['points']}"
    )
    out = f"results/laws/small-scale-{what}-{run}.json"
    return f"scylla_sim {arguments} --evidence small-scale --format json --out {out}"


def record_rows(gpu, suite, options):
    """Return the command that writes a committed record as rows."""
    record = f"gpu_validate/recorded/{gpu}/{suite}.json"
    return f"gpu_validate rows --record {record} {options}"


def gpu_rows(gpu):
    """Return the commands that write all rows of a GPU, and the two parts of its kernels."""
    folder, facts = f"results/gpu/{gpu}", f"--device {gpu} --evidence recorded"
    return [
        *(
            record_rows(gpu, suite, f"{facts} --repeat {folder}/{suite}-again.csv --out {folder}/{suite}.csv")
            for suite in GPU_SUITES[gpu]
        ),
        *(
            record_rows(
                gpu,
                "kernels",
                f"--part {part} {facts} --kernel-source {GPU_KERNELS} --out {folder}/kernels-{part}.csv",
            )
            for part in ("train", "test")
            if "kernels" in GPU_SUITES[gpu]
        ),
    ]


def gpu_tables(gpu):
    """Return the tables of rows of a GPU."""
    tables = [f"{suite}{again}" for suite in GPU_SUITES[gpu] for again in ("", "-again")]
    parts = ["kernels-train", "kernels-test"] if "kernels" in GPU_SUITES[gpu] else []
    return [f"results/gpu/{gpu}/{table}.csv" for table in [*tables, *parts]]


def gpu_copies(gpu):
    """Return copy -> committed file of a GPU's records and of the provenance of its blind predictions."""
    copies = {
        f"results/gpu/{gpu}/{suite}.json": f"gpu_validate/recorded/{gpu}/{suite}.json" for suite in GPU_SUITES[gpu]
    }
    if any(is_blind(gpu, suite) for suite in GPU_SUITES[gpu]):
        copies[f"results/gpu/{gpu}/blind.json"] = f"{RECORDED}/{guard.BLIND}/{gpu}/provenance.json"
    return copies


def score_gpu(gpu, suite):
    """Return the commands that predict a suite of a GPU, compare each prediction, and merge them with the rows."""
    folder = f"results/gpu/{gpu}"
    measured, again = f"{folder}/{suite}.csv", f"{folder}/{suite}-again.csv"
    predictions = gpu_predictions(gpu, suite)
    commands = []
    if "calibrated" in predictions:
        commands += [
            f"scylla_sim {GPU_VERBS.get(suite, 'cycles --engine ideal')} --shapes {measured} "
            f"--calibration {folder}/calibration.json --format csv --out {predictions['calibrated']}"
        ]
    for against, predicted in predictions.items():
        held_out = f"{folder}/kernels-test.csv" if (suite, against) == ("kernels", "calibrated") else measured
        compare = f"gpu_validate compare --predicted {predicted} --measured {held_out}"
        name = f"results/compare/gpu-{gpu}"
        commands += [
            f"{compare} --repeat {again} {GPU_COMPARED[suite]} --format json --out {name}-{suite}-{against}.json"
        ]
        if suite == "kernels":
            commands += [
                f"{compare} --by kernel_source,q_len --where op=decode_attention --format json "
                f"--out {name}-widths-{against}.json"
            ]
    if suite == "specdecode":
        for name, calibration in loop_predictions(gpu).items():
            predictions = predictions | {name: f"{folder}/{suite}-{name}.csv"}
            commands += [
                f"scylla_sim cycles --engine {LOOP} --shapes {measured} {calibration}--format csv "
                f"--out {predictions[name]}"
            ]
    pairs = ",".join(f"{name}={path}" for name, path in predictions.items())
    merge = f"gpu_validate merge --measured {measured} --repeat {again} --predicted {pairs}"
    return [*commands, f"{merge} --out {folder}/{suite}-rows.csv"]


def loop_predictions(gpu):
    """Return prediction -> option of its calibration, for cycles with the loop's sampling and acceptance."""
    if "specdecode" not in GPU_SUITES[gpu] or not LOOP_GPU:
        return {}
    own = f"--calibration results/gpu/{gpu}/calibration.json "
    return {"loop": ""} | ({"own_loop": own} if "kernels" in GPU_SUITES[gpu] else {})


def gpu_parts(gpu):
    """Return the command that compares steps with the kernels measured alone, for a GPU with both suites."""
    if not {"kernels", "step"} <= set(GPU_SUITES[gpu]):
        return []
    folder = f"results/gpu/{gpu}"
    rows = f"--kernels {folder}/kernels-rows.csv --steps {folder}/step-rows.csv"
    return [f"gpu_validate breakdown {rows} --out {folder}/step-parts.csv"]


def gpu_scores(gpu):
    """Return the files that `score_gpu` and `gpu_parts` write for a GPU."""
    folder, suites = f"results/gpu/{gpu}", GPU_SUITES[gpu]
    compared = [(suite, against) for suite in suites for against in gpu_predictions(gpu, suite)]
    compared += [("widths", against) for suite, against in compared if suite == "kernels"]
    return [
        *(f"results/compare/gpu-{gpu}-{suite}-{against}.json" for suite, against in compared),
        *(f"{folder}/{suite}-calibrated.csv" for suite in suites if "kernels" in suites),
        *(f"{folder}/{suite}-rows.csv" for suite in suites),
        *(f"{folder}/specdecode-{name}.csv" for name in loop_predictions(gpu)),
        *(f"{folder}/step-parts.csv" for _ in gpu_parts(gpu)),
    ]
