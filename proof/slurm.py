"""Run part of the workflow on a Slurm of one node: ``python -m proof.slurm`` (``make test-slurm``).

The daemons come from Debian's packages, which are installed where ``apt-get`` may. They run with files, ports and
an accounting database of their own in a temporary folder, and end with the script. The jobs measure, train and fit
the short plan of `proof.short` with ``profiles/slurm``. Where Slurm cannot be installed, the script says so and
ends with exit code 0.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from proof.short import OVERLAY, shorten
from scylla_sim.records import dump_json, write_text

ROOT = Path(__file__).parent.parent
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "munge", "mariadb-server")
PLUGINS = (
    "snakemake-executor-plugin-slurm==2.8.0",
    "snakemake-executor-plugin-slurm-jobstep==0.6.1",
    "throttler==1.2.3",
)
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "mariadb-install-db", "sbatch", "sacct")
TARGETS = (
    "results/laws/theorem-1.1.json",
    "results/measured/kernels.json",
    "results/measured/smallscale.json",
    "results/measured/trained.json",
    "results/calibration/local.json",
    "results/smallscale/here/optimum.csv",
)
"""Results of the run: laws of published points, and all rules that need a node for themselves."""
WANTED = {"laws", "measure", "train", "measure_trained", "calibrate_local"}
SLURM_CONF = """\
ClusterName=proof
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass={folder}/munge.socket
AccountingStoragePort={ports[2]}
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
DBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[2]}
SlurmUser={user}
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm_acct
"""


class NoSlurmError(Exception):
    """Slurm cannot be installed or started here."""


def installed() -> None:
    """Install Debian's packages where a program is missing.

    Raises
    ------
    NoSlurmError
        If a program is still missing.
    """
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if any(shutil.which(name) is None for name in PROGRAMS) and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", "-qq", *words], env=environment, check=False, stdout=subprocess.DEVNULL)
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise NoSlurmError(f"the program {missing[0]} is missing, and apt-get cannot install {' '.join(PACKAGES)}")
    if os.geteuid() != 0:
        raise NoSlurmError("slurmd and munged of Debian's packages start jobs as root only")


def free_ports(count: int) -> list[int]:
    """Return free TCP ports."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def memory_mb() -> int:
    """Return the memory of this machine in MB, as Slurm may give it away."""
    text = Path("/proc/meminfo").read_text()
    return int(re.search(r"MemTotal:\s+(\d+)", text)[1]) // 1024 - 512  # type: ignore[index]


def until(words: Sequence[str], environment: Mapping[str, str], *, says: str = "", limit_s: float = 90.0) -> str:
    """Return the output of a command once it succeeds and contains some words.

    Raises
    ------
    TimeoutError
        With the ends of the logs of all daemons.
    """
    end = time.monotonic() + limit_s
    while True:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0 and says in done.stdout:
            return done.stdout
        if time.monotonic() > end:
            logs = (
                path.read_text(errors="replace")[-600:]
                for path in Path(environment["SLURM_CONF"]).parent.glob("*.log")
            )
            raise TimeoutError(f"{' '.join(words)} does not answer: {done.stdout}{done.stderr}\n" + "\n".join(logs))
        time.sleep(0.5)


def started(folder: Path, stack: ExitStack) -> dict[str, str]:
    """Start the daemons, stop them with ``stack``, and return the environment of their clients."""
    host, user, ports = socket.gethostname().partition(".")[0], "root", free_ports(3)
    facts = {"folder": folder, "host": host, "user": user, "ports": ports}
    facts |= {"cpus": os.cpu_count(), "memory": memory_mb()}
    for name in ("state", "spool", "database"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**facts))
    (folder / "slurmdbd.conf").write_text(DBD_CONF.format(**facts))
    (folder / "slurmdbd.conf").chmod(0o600)
    database = f"{folder}/database.socket"
    environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "MYSQL_UNIX_PORT": database}
    log = stack.enter_context((folder / "daemons.log").open("w"))

    def start(*words: str) -> None:
        daemon = subprocess.Popen(words, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        stack.callback(daemon.wait)
        stack.callback(daemon.terminate)

    munge = [
        f"--{name}={folder}/munge.{name.partition('-')[0]}"
        for name in ("socket", "pid-file", "log-file", "seed-file")
    ]
    start("munged", "--foreground", "--force", f"--key-file={folder}/munge.key", *munge)
    make = ["mariadb-install-db", "--no-defaults", f"--datadir={folder}/database", "--user=root"]
    subprocess.run([*make, "--auth-root-authentication-method=socket"], stdout=log, stderr=log, check=True)
    data = (f"--datadir={folder}/database", f"--socket={database}", f"--pid-file={folder}/database.pid")
    start("mariadbd", "--no-defaults", "--user=root", "--skip-networking", *data)
    until(["mariadb-admin", "--no-defaults", f"--socket={database}", "ping"], environment)
    start("slurmdbd", "-D")
    until(["sacctmgr", "-n", "list", "cluster"], environment)
    subprocess.run(
        ["sacctmgr", "-i", "add", "cluster", "proof"], env=environment, stdout=log, stderr=log, check=False
    )
    start("slurmctld", "-D")
    until(["scontrol", "ping"], environment, says="UP")
    start("slurmd", "-D", "-N", host)
    until(["sinfo", "-h", "-o", "%T"], environment, says="idle")
    return environment


def copied(folder: Path) -> Path:
    """Return a copy of the checkout without results."""
    left_out = (".git", ".venv", ".snakemake", "results", "build", "dist", "*cache*", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left_out))
    (folder / "overlay.yaml").write_text(OVERLAY)
    return folder


def run(folder: Path, stack: ExitStack) -> tuple[str, dict[str, str]]:
    """Run the targets on Slurm, and return the log and the state of every job."""
    environment = started(folder, stack)
    plugins = folder / "plugins"
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(plugins), *PLUGINS]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoSlurmError(f"pip cannot install {PLUGINS[0]}: {done.stderr.strip()[-200:]}")
    checkout = copied(folder / "checkout")
    shorten(checkout)
    # slurmd does not pass on SLURM_CONF, and the job starts its step with srun
    (folder / "bin").mkdir()
    (folder / "bin/srun").write_text(
        f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
    )
    (folder / "bin/srun").chmod(0o755)
    environment["PATH"] = f"{folder}/bin:{Path(sys.executable).parent}:{environment['PATH']}"
    environment |= {"PYTHONPATH": f"{checkout}:{plugins}", "OMP_NUM_THREADS": "1"}
    cores = str(os.cpu_count())
    memory = min(16000, memory_mb())
    alone = [
        f"{rule}:{name}"
        for rule in ("measure", "train", "measure_trained")
        for name in ("gpu=0", f"mem_mb={memory}")
    ]
    options = ["--workflow-profile", "profiles/slurm", "--configfile", "overlay.yaml", "--cores", cores]
    options += ["--set-resources", *alone, "--slurm-init-seconds-before-status-checks", "5", "--"]
    begun = time.strftime("%Y-%m-%dT%H:%M:%S")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *options, *TARGETS],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    listed = subprocess.run(
        ["sacct", "-X", "-S", begun, "-P", "--format=JobID,Comment,State,Elapsed,AllocCPUS,ReqMem"],
        env=environment, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    states = {}
    for line in listed.splitlines()[1:]:
        job, comment, state, *_ = line.split("|")
        states[f"{job} {comment}".strip()] = state
    missing = [target for target in TARGETS if not (checkout / target).exists()]
    said = done.stdout + "\n" + listed
    if done.returncode or missing:
        for path in sorted(checkout.glob(".snakemake/slurm_logs/**/*.log")):
            said += f"\n--- {path.relative_to(checkout)}\n{path.read_text(errors='replace')}"
        said += f"\nsnakemake ended with {done.returncode}; missing: {' '.join(missing) or 'nothing'}\n"
    for text, name in ((str(folder), "SLURM"), (sys.prefix, "VENV"), (socket.gethostname(), "node")):
        said = said.replace(text, name)
    return said, states


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the workflow on Slurm and return 0 if every job completed, or if there can be no Slurm here."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", help="write the result as JSON, and the log beside it")
    args = parser.parse_args(arguments)
    begun = time.monotonic()
    try:
        installed()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
            log, states = run(folder, stack)
    except NoSlurmError as error:
        print(f"SKIPPED: no Slurm here, so nothing ran: {error}", file=sys.stderr)
        return 0
    print(log)
    rules = {rule for rule in WANTED if any(re.search(rf"rule_{rule}(_wildcards|$)", name) for name in states)}
    good = rules == WANTED and set(states.values()) == {"COMPLETED"} and "missing:" not in log
    counts = {state: list(states.values()).count(state) for state in sorted(set(states.values()))}
    seconds = round(time.monotonic() - begun)
    print(f"{len(states)} jobs on Slurm: {counts}, {seconds} s; {'passed' if good else 'FAILED'}")
    if args.out:
        version = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=False).stdout.strip()
        facts = {"slurm": version, "plugin": PLUGINS[0], "jobs": counts, "rules": sorted(rules), "seconds": seconds}
        write_text(args.out, dump_json({**facts, "passed": good}))
        write_text(str(Path(args.out).with_suffix(".log")), log)
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
