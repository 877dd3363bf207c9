#!/usr/bin/env python3
"""Times other libraries beside ours, process by process, in turn.

    beside.py gemm --suite training|squares [--threads 1] [--op nn|nt|tn]
    beside.py gemm --m 128 --n 512 --k 784 --op nt
    beside.py train --suite networks|small [--optimizer sgd|adam] [--threads 2]
    beside.py infer --layers 784,512,256,10 --batch 1

All arguments but the options below are those of bench-harness. For each case every program is
started once and asked for samples in turn, A B C, then C B A, and so on, so that what changes more
slowly than a turn meets all of them. Reported are the medians, and the median of the paired ratios
theirs / ours with the interval that holds 95 % of its bootstrap.

Peers that are not there are named and left out. Their figures are what a user gets: Python peers
are called from Python.

    --python PATH        the interpreter that has torch, jax, onnxruntime, mkl, scipy-openblas32
    --peers NAMES        only these, separated by commas
    --rounds N           samples of each (15)
    --sample-ms N        how long a sample should last (10)
    --budget-s N         seconds after which a case takes no further turns (20)
    --build              builds the peers written in Rust and C first
    --json               one JSON object per line instead of a table; `bench-harness run --save NAME
                         --lines FILE` makes a record of such lines
"""

import argparse
import glob
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
SAMPLE_MS = 1.0
"""What a worker's own number of calls lasts."""


class Program:
    """A worker: see sampling.py. It ends with its stdin."""

    def __init__(self, command, threads):
        environment = dict(os.environ)
        for name in ("OMP", "MKL", "OPENBLAS", "RAYON"):
            environment[f"{name}_NUM_THREADS"] = str(threads)
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.calls = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line.strip().isdigit():
            self.process.kill()
            said = self.process.stderr.read().strip().splitlines()
            raise RuntimeError(said[-1] if said else f"expected a number, got {line!r}")
        return int(line)

    def sample(self, calls):
        """Nanoseconds per call."""
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        return self.answer() / calls

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Peer:
    """How a library is started, and which suites it knows."""

    def __init__(self, name, suites, command, version):
        self.name, self.suites, self.command, self.version = name, suites, command, version

    def title(self):
        return f"{self.name} {self.version}" if self.version else self.name


def output_of(command):
    """The first line a command prints, or None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None


def python_peers(python):
    for name, worker, modes, suites in [
        ("torch", "torch_worker.py", ["eager", "fused", "compile"], ["gemm", "train", "infer"]),
        ("jax", "jax_worker.py", [None], ["gemm", "train", "infer"]),
        ("onnxruntime", "onnx_worker.py", [None], ["infer"]),
    ]:
        worker = os.path.join(HERE, worker)
        version = output_of([python, worker, "--version"])
        for mode in modes:
            command = [python, worker] + (["--mode", mode] if mode else [])
            # What the modes differ in is training.
            known = suites if mode in (None, "fused") else ["train"]
            yield Peer(f"{name}-{mode}" if mode else name, known, command, version)


def rust_peers():
    for name in ("candle", "burn"):
        program = os.path.join(TARGET, "peers", name, "release", f"{name}-worker")
        yield Peer(name, ["train", "infer"], [program], output_of([program, "--version"]))


def blas_peers(python):
    worker = os.path.join(TARGET, "peers", "cblas_worker")
    prefix = output_of([python, "-c", "import sys; print(sys.prefix)"]) or "/usr"
    package = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    for name, module, symbol, pattern in [
        ("mkl", "mkl", "cblas_sgemm", f"{prefix}/lib/libmkl_rt.so*"),
        (
            "openblas",
            "scipy-openblas32",
            "scipy_cblas_sgemm",
            f"{prefix}/lib/python3*/site-packages/scipy_openblas32/lib/libscipy_openblas*.so",
        ),
    ]:
        libraries = glob.glob(pattern)
        version = output_of([python, "-c", package, module]) if os.path.exists(worker) else None
        library = libraries[0] if libraries else ""
        yield Peer(name, ["gemm"], [worker, library, symbol], version if libraries else None)


def build():
    """Compiles what is not Python. Peers that cannot be built are left out later."""
    target = os.path.join(TARGET, "peers")
    os.makedirs(target, exist_ok=True)
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        features = ["--features", "avx512"] if "avx512f" in cpuinfo.read() else []
    commands = [
        ["cc", "-O2", "-o", f"{target}/cblas_worker", f"{HERE}/cblas_worker.c", "-ldl", "-lm"]
    ]
    for name in ("candle", "burn"):
        manifest = os.path.join(HERE, name, "Cargo.toml")
        to = ["--target-dir", os.path.join(target, name)]
        commands.append(["cargo", "build", "--release", "--manifest-path", manifest, *to, *features])
    commands.append(["cargo", "build", "--release", "-p", "bench-harness"])
    for command in commands:
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            print(f"not built: {' '.join(command)}", file=sys.stderr)


def cases(ours, arguments):
    """The cases that the arguments stand for, from the table of bench-harness itself, with their
    names there."""
    if "--suite" not in arguments:
        return [(None, arguments)]
    suite, rest, threads = arguments[0], [], "1"
    if "--threads" in arguments:
        threads = arguments[arguments.index("--threads") + 1]
    if "--optimizer" in arguments:
        rest = ["--optimizer", arguments[arguments.index("--optimizer") + 1]]
    listing = [ours, *arguments, "--json", "--budget-ms", "1"]
    done = subprocess.run(listing, stdout=subprocess.PIPE, text=True, check=True)
    keys = ["m", "n", "k", "op"] if suite == "gemm" else ["layers", "batch", "activation"]
    found = []
    for line in done.stdout.splitlines():
        record = json.loads(line)
        named = [word for key in keys for word in (f"--{key}", str(record[key]))]
        case = [suite, *named, *rest, "--threads", threads]
        named_case = record.get("network"), case
        if record.get("impl") == "ours" and named_case not in found:
            found.append(named_case)
    return found


def interval(ratios):
    """The middle of the ratios, and the interval that holds 95 % of its bootstrap."""
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(1000)
    )
    return statistics.median(ratios), medians[25], medians[974]


def time_case(case, programs, options):
    """Nanoseconds per call, one list for each program."""
    factor = max(1, round(options.sample_ms / SAMPLE_MS))
    calls = [program.calls * factor if program.calls > 1 else 1 for program in programs]
    series = [[] for _ in programs]
    started = time.monotonic()
    for turn in range(options.rounds):
        if turn >= 4 and time.monotonic() - started > options.budget_s:
            break
        order = range(len(programs))
        for i in order if turn % 2 == 0 else reversed(order):
            series[i].append(programs[i].sample(calls[i]))
    return series


def settings(network, case):
    """The arguments of a case as fields of an object, with the names that bench-harness gives them."""
    fields = {"schema_version": 1, "suite": "peers", "of": case[0]}
    if network:
        fields["network"] = network
    for key, value in zip(case[1::2], case[2::2]):
        fields[key[2:]] = int(value) if value.isdigit() else value
    return fields


def report(network, case, names, series, options):
    fields = settings(network, case)
    for name, ns in zip(names, series):
        ratio, low, high = interval([theirs / own for theirs, own in zip(ns, series[0])])
        line = {
            **fields,
            "impl": name,
            "median_ns": round(statistics.median(ns), 1),
            "min_ns": round(min(ns), 1),
            "over_ours": round(ratio, 4),
            "over_ours_low": round(low, 4),
            "over_ours_high": round(high, 4),
            "rounds": len(ns),
        }
        if options.json:
            print(json.dumps(line), flush=True)
        else:
            print(
                f"    {name:<28} {line['median_ns'] / 1e3:>12.2f} us, at least"
                f" {line['min_ns'] / 1e3:>12.2f}; {ratio:>7.3f} of ours"
                f" ({low:.3f} to {high:.3f})",
                flush=True,
            )
        yield name, ratio


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--peers")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sample-ms", type=float, default=10)
    parser.add_argument("--budget-s", type=float, default=20)
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--json", action="store_true")
    options, arguments = parser.parse_known_args()
    if not arguments or arguments[0] not in ("gemm", "train", "infer"):
        parser.error(f"expected gemm, train or infer first, got {' '.join(arguments) or 'nothing'}")
    if options.build:
        build()
    ours = os.path.join(TARGET, "release", "bench-harness")
    if not shutil.which(ours):
        sys.exit(f"{ours} is missing: --build makes it")
    threads = int(arguments[arguments.index("--threads") + 1]) if "--threads" in arguments else 1

    wanted = options.peers.split(",") if options.peers else None
    peers = []
    for peer in (*python_peers(options.python), *rust_peers(), *blas_peers(options.python)):
        if arguments[0] not in peer.suites or (wanted and peer.name not in wanted):
            continue
        if peer.version:
            peers.append(peer)
        else:
            print(f"left out: {peer.name}, which is not there", file=sys.stderr)

    ratios = {}
    for network, case in cases(ours, arguments):
        if not options.json:
            print(f"{network} {' '.join(case)}" if network else " ".join(case), flush=True)
        programs, names = [Program([ours, "sample", *case], threads)], ["ours"]
        try:
            for peer in peers:
                try:
                    programs.append(Program([*peer.command, *case], threads))
                    names.append(peer.title())
                except RuntimeError as error:
                    print(f"left out of this case: {peer.name}: {error}", file=sys.stderr)
            series = time_case(case, programs, options)
        finally:
            for program in programs:
                program.close()
        for name, ratio in report(network, case, names, series, options):
            ratios.setdefault(name, []).append(ratio)
    for name, found in ratios.items():
        if name == "ours" or len(found) < 2:
            continue
        mean, least = statistics.geometric_mean(found), min(found)
        if not options.json:
            print(f"{name}: {mean:.3f} of ours in the geometric mean of {len(found)}, least {least:.3f}")


if __name__ == "__main__":
    main()
