"""Lists and functions that several stages share."""

from gpu_validate.silicon import low_bits
from gpu_validate.silicon.tables import DEVICES as MEASURED
from paper.figures.index import FIGURES
from paper.overview.index import FIGURES as CAPTIONS, topic_of
from paper.tables.index import TABLES

guard.use_this_python()

DEVICES = config["silicon_devices"]
OPS = config["silicon_ops"]
# Operations that are calibrated for two engines, because vLLM and SGLang run different kernels.
BOTH_ENGINES = ["gemm", "decode_attention", "context_attention", "all_reduce"]
# Operations with tables of 4-bit weights and 8-bit integers on some devices, and the suffix of these tables.
LOW_BITS = "low-bits"
WITH_LOW_BITS = [op for op in low_bits.LOW_BITS if op in OPS]
# Tables that a device lacks. The GEMM kernels of the A100 are those of SGLang already. Its MLA was measured with one
# framework only, in a kernel that no engine of the catalog runs.
UNMEASURED = {"a100-sxm": ["gemm-sglang", "elementwise", "latent_attention"]}
# Tables without a noise floor: no second framework measured the same kind of kernel.
WITHOUT_REPEAT = [
    ("l40s", "latent_attention"),
    *((device, "elementwise") for device in DEVICES),
    *((d, f"{op}-{LOW_BITS}") for d in DEVICES for op in WITH_LOW_BITS if not low_bits.repeated(d, op)),
]
# Operations that devices without measurements predict with a dense kernel. The error of that fallback is scored too.
WITH_FALLBACK = ["latent_attention"]

# Hashes of the code behind a rule. Snakemake does not look into an imported package, so rules take them as parameters.
SIMULATOR = guard.code_hash("scylla_sim")
VALIDATOR = guard.code_hash("gpu_validate")
PRINTER = guard.code_hash("paper")

SCENARIOS = scenarios.load()


wildcard_constraints:
    device=r"(?!local\b)[a-z0-9-]+",
    op=f"({'|'.join(BOTH_ENGINES)})(-sglang)?|({'|'.join(low_bits.LOW_BITS)})-{LOW_BITS}"
    "|latent_attention|experts|elementwise",
    part="train|test|repeat",


def ops_of(device):
    """Return the tables of operations that were measured on a device: usual, of SGLang, and of few bits."""
    tables = [*OPS, *(f"{op}-sglang" for op in BOTH_ENGINES if op in OPS)]
    tables += [f"{op}-{LOW_BITS}" for op in WITH_LOW_BITS if low_bits.dtypes_of(device, op)]
    return [op for op in tables if op not in UNMEASURED.get(device, [])]


def table_of(device, op):
    """Return the options that name a table of silicon data: the operation, and its framework or data types."""
    name, _, kind = op.partition("-")
    if kind == LOW_BITS:
        return f"--op {name} --dtype {','.join(low_bits.dtypes_of(device, name))}"
    return f"--op {name} --framework {kind}" if kind else f"--op {name}"


def train_rows_of(op):
    """Return the calibration rows of each kind of kernel of a table."""
    return config["gemm_train_rows" if op in ("gemm", "gemm-sglang") else "train_rows"]


def simulator(section, name):
    """Return the arguments of scylla-sim behind a result file, from `config/scenarios.yaml`."""
    scenario = SCENARIOS[section][name]
    return scenarios.command(scenario, scenarios.points(scenario))


def published(section, name):
    """Return the published files that a scenario reads."""
    return scenarios.inputs(SCENARIOS[section][name])


# Records of this project's own CPU run, committed with the package.
RECORDED_CPU = "gpu_validate/recorded/cpu/{suite}.json"


def loops_evidence(wildcards):
    """Return the evidence level of the loops of a run: measured by this run or recorded earlier."""
    return config["measurements"] if wildcards.run == "here" else "recorded"


def of_run(suite):
    """Return an input function: the record of a suite, by run."""
    return lambda w: f"results/measure/{suite}.json" if w.run == "here" else RECORDED_CPU.format(suite=suite)


# GPUs of the catalog with committed records, and their suites. They are inputs of the tables without any setting.
RECORDED = Path("gpu_validate/recorded")
GPU_SUITES = guard.gpu_suites(RECORDED)


# The GPU whose steps and cycles give the device time of sampling and acceptance in the loop.
LOOP_GPU = guard.loop_gpu(GPU_SUITES)
LOOP = "results/gpu/loop.toml"


def is_blind(gpu, suite):
    """Return whether a suite of a GPU was predicted before it was measured."""
    return (RECORDED / guard.BLIND / gpu / f"{suite}.csv").is_file()


def gpu_predictions(gpu, suite):
    """Return the predictions of a suite by name: blind, and calibrated on the GPU's own kernels."""
    blind = {"blind": f"{RECORDED}/{guard.BLIND}/{gpu}/{suite}.csv"} if is_blind(gpu, suite) else {}
    own = {"calibrated": f"results/gpu/{gpu}/{suite}-calibrated.csv"} if "kernels" in GPU_SUITES[gpu] else {}
    return blind | own
