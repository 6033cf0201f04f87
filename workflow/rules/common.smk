from gpu_validate.silicon.tables import DEVICES as MEASURED
from paper.figures.index import FIGURES
from paper.sources.inputs import COMMANDS
from paper.tables.index import TABLES

guard.use_this_python()

DEVICES = config["silicon_devices"]
OPS = config["silicon_ops"]
# operations that are fitted for both engines, whose kernels differ: SGLang's beside the usual ones
TWICE = ["gemm", "decode_attention", "all_reduce"]
# what was not measured on a device: its GEMMs are SGLang's anyway, and its latent attention was measured by one framework
# only, with a kernel that no engine of the catalog runs
UNMEASURED = {"a100-sxm": ["gemm-sglang", "elementwise", "latent_attention"]}
# what nobody else measured with the same kind of kernel has no noise floor
UNREPEATED = [("l40s", "latent_attention"), *((device, "elementwise") for device in DEVICES)]
# operations that a dense kernel stands in for on other devices; how well it does is scored beside the fit
STOOD_IN = ["latent_attention"]

# hashes of the code behind a rule: Snakemake does not look into an imported package, so a parameter tells it
SIMULATOR = guard.code_hash("scylla_sim")
VALIDATOR = guard.code_hash("gpu_validate")
PRINTER = guard.code_hash("paper")


wildcard_constraints:
    device=r"(?!local\b)[a-z0-9-]+",
    op=f"({'|'.join(TWICE)})(-sglang)?|latent_attention|experts|elementwise",
    part="train|test|repeat",


def ops_of(device):
    """Tables of operations that were measured on a device, those of vLLM (mostly) and of SGLang."""
    tables = [*OPS, *(f"{op}-sglang" for op in TWICE if op in OPS)]
    return [op for op in tables if op not in UNMEASURED.get(device, [])]


def table_of(op):
    """Options that name a table of silicon data: the operation, and the framework where it is not the usual one."""
    name, _, framework = op.partition("-")
    return f"--op {name} --framework {framework}" if framework else f"--op {name}"


def verb(path):
    """Verb and options of the scylla-sim command behind a result file; `paper/sources/inputs.py` holds them, once."""
    return COMMANDS[path].removeprefix("scylla-sim ")


def published(path):
    """Published numbers that this command reads."""
    return [word for word in COMMANDS[path].split() if word.startswith("paper/published/")]


# measured and trained earlier on a CPU, and committed
RECORDED_CPU = "gpu_validate/recorded/cpu/{suite}.json"


def loops_evidence(wildcards):
    """Whether the loops of a run were timed by it or earlier."""
    return config["measurements"] if wildcards.run == "here" else "recorded"


def of_run(suite):
    """Record of a suite, by run."""
    return lambda w: f"results/measure/{suite}.json" if w.run == "here" else RECORDED_CPU.format(suite=suite)


# GPUs of the catalog with committed records, each with its suites: inputs of the tables without any setting
RECORDED = Path("gpu_validate/recorded")
GPU_SUITES = guard.gpu_suites(RECORDED)


def is_blind(gpu, suite):
    """Whether a suite of a GPU was predicted before it was measured."""
    return (RECORDED / guard.BLIND / gpu / f"{suite}.csv").is_file()


def gpu_predictions(gpu, suite):
    """Predictions of a suite by name: made before it was measured, and by the calibration on the GPU's own kernels."""
    blind = {"blind": f"{RECORDED}/{guard.BLIND}/{gpu}/{suite}.csv"} if is_blind(gpu, suite) else {}
    own = {"calibrated": f"results/gpu/{gpu}/{suite}-calibrated.csv"} if "kernels" in GPU_SUITES[gpu] else {}
    return blind | own
