#!/usr/bin/env python3
"""Times other libraries beside ours, process by process, in turn.

    beside.py all --out FILE [--resume]
    beside.py gemm --suite training|squares [--threads 1] [--op nn|nt|tn]
    beside.py gemm --m 128 --n 512 --k 784 --op nt
    beside.py train --suite networks|small [--optimizer sgd|adam] [--threads 2]
    beside.py infer --layers 784,512,256,10 --batch 1

All arguments but the options below are those of bench-harness. `all` is the table of the documentation:
training of A to H and of the network of SimpleChains.jl with SGD and Adam on one thread and on two, and
forward passes of one sample and of 64, in the order of how much they matter (`--minutes`).

For each case every program is started and asked for samples in turn, in orders that favour none of
them (as bench-harness does), ours twice: `ours again` says what the machine makes of no difference.
Reported are the medians, and the median of the paired ratios theirs / ours with the interval that holds
95 % of its bootstrap.

Peers that are not there are named and left out, and so is, of one case, a peer that ends or that does
not answer in time; its line says why. Their figures are what a user gets: Python peers are called from
Python. Where a peer has several sensible settings (how threads wait for each other), it is started with
each, and the fastest of a few samples is timed.

    --python PATH        the interpreter that has torch, jax, onnxruntime, mkl, scipy-openblas32
    --peers NAMES        only these, separated by commas
    --rounds N           samples of each (16)
    --sample-ms N        how long a sample should last (10)
    --budget-s N         seconds after which a case takes no further turns (6)
    --limit-s N          seconds in which a program has to be ready, or to answer (60)
    --minutes N          stops after so long in all, with the cases that are whole by then; the first line of
                         FILE then says that the record is a part
    --build              builds the peers written in Rust and C first
    --json               one JSON object per line instead of a table
    --out FILE           the same to a file, each line as soon as it is known, the first one about machine
                         and build; `bench-harness run --save NAME --lines FILE` makes a record of it
    --resume             keeps the cases that are whole in FILE already
"""

import argparse
import glob
import json
import os
import random
import select
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
TRIES = 5
"""Samples by which the settings of a peer are told apart."""
OURS, AGAIN = "ours", "ours again"

SMALL_ENOUGH = "ABCDEFG"
"""The networks of which a step takes no seconds."""


def networks(optimizer, threads, which):
    """Training of some of the networks."""
    line = f"train --suite networks --optimizer {optimizer} --threads {threads}"
    return line.split(), which


def chains(threads):
    """The network that SimpleChains.jl is shown with."""
    line = "train --layers 4,32,16,4 --batch 10000 --activation tanh --optimizer adam"
    return [*line.split(), "--threads", str(threads)], None


ALL = [
    networks("sgd", 1, SMALL_ENOUGH),
    networks("sgd", 2, "CDEFG"),
    networks("adam", 1, SMALL_ENOUGH),
    chains(1),
    chains(2),
    ("infer --suite serving --threads 1".split(), None),
    networks("adam", 2, SMALL_ENOUGH),
    networks("sgd", 2, "AB"),
    *(networks(optimizer, threads, "H") for threads in (1, 2) for optimizer in ("sgd", "adam")),
]
"""What `all` stands for: arguments, and the names of the networks where they are not all."""


class OutOfTime(Exception):
    """The minutes given are over. The case at hand is given up."""


class Limits:
    """How long an answer may take, and when all has to end."""

    def __init__(self, answer_s, minutes):
        self.answer_s = answer_s
        self.end = time.monotonic() + 60 * minutes if minutes else float("inf")

    def left_s(self):
        return max(0, self.end - time.monotonic())


class Program:
    """A worker: see sampling.py. It ends with its stdin."""

    def __init__(self, command, threads, limits, setting=None):
        environment = dict(os.environ)
        for name in ("OMP", "MKL", "OPENBLAS", "RAYON"):
            environment[f"{name}_NUM_THREADS"] = str(threads)
        environment.update(setting or {})
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self.limits = limits
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            self.calls = self.answer()
        except BaseException:
            self.close()
            raise

    def answer(self):
        limit_s = min(self.limits.answer_s, self.limits.left_s())
        readable, _, _ = select.select([self.process.stdout], [], [], limit_s)
        if not readable:
            self.process.kill()
            if self.limits.left_s() <= 0:
                raise OutOfTime
            raise RuntimeError(f"no answer in {self.limits.answer_s:g} s")
        line = self.process.stdout.readline()
        if not line.strip().isdigit():
            self.process.kill()
            said = self.process.stderr.read().strip().splitlines()
            raise RuntimeError(said[-1] if said else f"expected a number, got {line!r}")
        return int(line)

    def sample(self, calls):
        """Nanoseconds per call."""
        try:
            self.process.stdin.write(f"{calls}\n")
            self.process.stdin.flush()
        except OSError as error:
            raise RuntimeError(f"it has ended: {error}") from error
        return self.answer() / calls

    def close(self):
        try:
            self.process.stdin.close()
        except OSError:
            pass  # It has ended.
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Peer:
    """How a library is started, and which suites it knows."""

    def __init__(self, name, suites, command, version, settings=()):
        self.name, self.suites, self.command, self.version = name, suites, command, version
        self.settings = [{}, *settings]

    def start(self, case, threads, limits):
        """The program with its fastest setting."""
        command = [*self.command, *case]
        if threads == 1:
            return Program(command, threads, limits)
        if len(self.settings) == 1:
            return Program(command, threads, limits, self.settings[0])
        fastest, failure = (float("inf"), None), None
        for setting in list(self.settings):
            program = None
            try:
                program = Program(command, threads, limits, setting)
                ns = statistics.median(program.sample(program.calls) for _ in range(TRIES))
                fastest = min(fastest, (ns, setting), key=lambda found: found[0])
            except RuntimeError as error:
                failure = error
                if len(self.settings) > 1 and "no answer" in str(error):
                    # It would take as long in the cases to come.
                    self.settings.remove(setting)
            finally:
                if program:
                    program.close()
        if fastest[1] is None:
            raise failure
        return Program(command, threads, limits, fastest[1])

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
            # Threads of libgomp spin at the end of each region. Where two of them have one core, because
            # a neighbour has the other, each region then takes a slice of the scheduler.
            settings = [{"OMP_WAIT_POLICY": "passive"}] if name == "torch" else []
            yield Peer(f"{name}-{mode}" if mode else name, known, command, version, settings)


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


def cases(ours, arguments, which):
    """The cases that the arguments stand for, from the table of bench-harness itself, with their
    names there; only the networks in `which`, if given."""
    suite, rest, threads = arguments[0], [], "1"
    if "--suite" not in arguments:
        # bench-harness says what is wrong with them, and the line of a case names its threads.
        subprocess.run([ours, "cases", *arguments], stdout=subprocess.DEVNULL, check=True)
        return [(None, arguments if "--threads" in arguments else [*arguments, "--threads", threads])]
    if "--threads" in arguments:
        threads = arguments[arguments.index("--threads") + 1]
    if "--optimizer" in arguments:
        rest = ["--optimizer", arguments[arguments.index("--optimizer") + 1]]
    listing = [ours, "cases", *arguments]
    done = subprocess.run(listing, stdout=subprocess.PIPE, text=True, check=True)
    keys = ["m", "n", "k", "op"] if suite == "gemm" else ["layers", "batch", "activation"]
    found = []
    for line in done.stdout.splitlines():
        record = json.loads(line)
        named = [word for key in keys for word in (f"--{key}", str(record[key]))]
        if which is None or record["network"] in which:
            found.append((record.get("network"), [suite, *named, *rest, "--threads", threads]))
    return found


def interval(ratios):
    """The middle of the ratios, and the interval that holds 95 % of its bootstrap."""
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(1000)
    )
    return statistics.median(ratios), medians[25], medians[974]


def order(turn, count):
    """Who comes when: a Latin square in which each follows each other one equally often (Williams, 1949);
    with an odd number of programs together with its mirror."""
    zigzag = [(i + 1) // 2 if i % 2 else (count - i // 2) % count for i in range(count)]
    row = [(i + turn) % count for i in zigzag]
    return row[::-1] if count % 2 and (turn // count) % 2 else row


def time_case(programs, options):
    """Nanoseconds per call, one list for each program, None in the place of what did not answer; and why
    it did not, by name."""
    factor = max(1, round(options.sample_ms / SAMPLE_MS))
    series = {name: [] for name in programs}
    failed = {}
    names = list(programs)
    started = time.monotonic()
    for turn in range(options.rounds):
        if turn >= 4 and time.monotonic() - started > options.budget_s:
            break
        for i in order(turn, len(names)):
            name = names[i]
            if name in failed:
                continue
            program = programs[name]
            try:
                ns = program.sample(program.calls * factor if program.calls > 1 else 1)
            except RuntimeError as error:
                if name in (OURS, AGAIN):
                    raise
                failed[name] = str(error)
                program.process.kill()
                continue
            series[name].append(ns)
    return {name: ns for name, ns in series.items() if name not in failed}, failed


def settings(network, case):
    """The arguments of a case as fields of an object, with the names that bench-harness gives them."""
    fields = {"schema_version": 1, "suite": "peers", "of": case[0]}
    if network:
        fields["network"] = network
    for key, value in zip(case[1::2], case[2::2]):
        fields[key[2:]] = int(value) if value.isdigit() else value
    return fields


class Output:
    """Where lines go: to people or as objects, and to a file."""

    def __init__(self, options, ours):
        self.is_json, self.file, self.done = options.json, None, set()
        if not options.out:
            return
        self.path = options.out
        command = [ours, "machine"]
        machine = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        lines = []
        if options.resume and os.path.exists(options.out):
            with open(options.out, encoding="utf-8") as file:
                lines = [line for line in file if line.endswith("\n")]
            for number, line in enumerate(lines, 1):
                check_line(options.out, number, line)
        kept = []
        if lines and build_of(lines[0]) == build_of(machine):
            # The last case may be cut short.
            cases = [case_of(json.loads(line)) for line in lines[1:]]
            kept = [line for line, case in zip(lines[1:], cases) if case != cases[-1]]
            self.done = set(cases[: len(kept)])
        elif lines:
            print(f"{options.out} is of another build: begun anew", file=sys.stderr)
        self.file = open(options.out, "w", encoding="utf-8")
        if kept:
            # Perhaps it was a part; perhaps it will be whole.
            machine = json.dumps({k: v for k, v in json.loads(lines[0]).items() if k != "part"}) + "\n"
        self.file.writelines([machine, *kept])
        self.file.flush()

    def is_a_part(self, why):
        """Says so in the first line of the file."""
        if not self.file:
            return
        self.file.close()
        with open(self.path, encoding="utf-8") as file:
            machine, *lines = file
        machine = json.dumps({**json.loads(machine), "part": why}) + "\n"
        beside = self.path + ".new"
        with open(beside, "w", encoding="utf-8") as file:
            file.writelines([machine, *lines])
        os.replace(beside, self.path)
        self.file = None

    def say(self, text):
        if not self.is_json:
            print(text, flush=True)

    def line(self, fields, words):
        if self.is_json:
            print(json.dumps(fields), flush=True)
        else:
            print(words, flush=True)
        if self.file:
            self.file.write(json.dumps(fields) + "\n")
            self.file.flush()


FIGURES = (
    "impl median_ns min_ns over_ours over_ours_low over_ours_high rounds left_out".split()
)
"""The fields of a line that are no arguments."""


def check_line(path, number, line):
    """Ends the program if a line of an earlier file is none of a record."""
    try:
        if isinstance(json.loads(line), dict):
            return
    except ValueError:
        pass
    sys.exit(f"{path}: line {number}: expected an object, got {line[:40].strip()!r}; --resume needs a sound file")


def build_of(line):
    """What the first line of a record says of the program that was measured."""
    machine = json.loads(line)
    return [machine.get(name) for name in ("cpu", "cores", "revision", "rustc")]


def case_of(fields):
    """What a line is of."""
    return json.dumps({k: v for k, v in fields.items() if k not in FIGURES}, sort_keys=True)


def report(fields, series, failed, output):
    """Writes a line for each program; gives the ratios of those that were timed."""
    ratios = {}
    for name, ns in series.items():
        ratio, low, high = interval([theirs / own for theirs, own in zip(ns, series[OURS])])
        ratios[name] = ratio
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
        output.line(
            line,
            f"    {name:<28} {line['median_ns'] / 1e3:>12.2f} us, at least"
            f" {line['min_ns'] / 1e3:>12.2f}; {ratio:>7.3f} of ours ({low:.3f} to {high:.3f})",
        )
    for name, why in failed.items():
        line = {**fields, "impl": name, "left_out": why}
        output.line(line, f"    {name:<28} left out: {why}")
    return ratios


def run_case(fields, case, peers, ours, threads, options, output):
    """Starts the programs of a case, times them and reports."""
    programs, failed = {}, {}
    try:
        for name in (OURS, AGAIN):
            programs[name] = Program([ours, "sample", *case], threads, options.limits)
        for peer in peers:
            try:
                programs[peer.title()] = peer.start(case, threads, options.limits)
            except RuntimeError as error:
                failed[peer.title()] = str(error)
        series, late = time_case(programs, options)
    finally:
        for program in programs.values():
            program.close()
    return report(fields, series, {**failed, **late}, output)


def peers_there(options):
    """The peers that are wanted and there; names those that are not."""
    wanted = options.peers.split(",") if options.peers else None
    there = []
    for peer in (*python_peers(options.python), *rust_peers(), *blas_peers(options.python)):
        if wanted and peer.name not in wanted:
            continue
        if peer.version:
            there.append(peer)
        else:
            print(f"left out: {peer.name}, which is not there", file=sys.stderr)
    return there


def run(arguments, which, peers, ours, options, output):
    """Times the cases that the arguments stand for; says how many are done, and how many ours failed in."""
    done = failed = 0
    threads = int(arguments[arguments.index("--threads") + 1]) if "--threads" in arguments else 1
    known = [peer for peer in peers if arguments[0] in peer.suites]
    ratios = {}
    for network, case in cases(ours, arguments, which):
        fields = settings(network, case)
        if case_of(fields) in output.done:
            done += 1
            continue
        if options.limits.left_s() <= 0:
            raise OutOfTime
        output.say(f"{network} {' '.join(case)}" if network else " ".join(case))
        try:
            found = run_case(fields, case, known, ours, threads, options, output)
        except RuntimeError as error:
            # Ours failed: nothing to compare with, and no reason to lose the other cases.
            print(f"{' '.join(case)}: ours: {error}", file=sys.stderr)
            failed += 1
            continue
        done += 1
        for name, ratio in found.items():
            ratios.setdefault(name, []).append(ratio)
    for name, found in ratios.items():
        if name != OURS and len(found) > 1:
            mean, least = statistics.geometric_mean(found), min(found)
            output.say(
                f"{name}: {mean:.3f} of ours in the geometric mean of {len(found)}, least {least:.3f}"
            )
    return done, failed


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # --m is the rows of a product, and no short form of ours.
        allow_abbrev=False,
    )
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--peers")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--sample-ms", type=float, default=10)
    parser.add_argument("--budget-s", type=float, default=6)
    parser.add_argument("--limit-s", type=float, default=60)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("--resume", action="store_true")
    options, arguments = parser.parse_known_args()
    if not arguments or arguments[0] not in ("all", "gemm", "train", "infer"):
        parser.error(
            f"expected all, gemm, train or infer first, got {' '.join(arguments) or 'nothing'}"
        )
    try:
        threads = int(arguments[arguments.index("--threads") + 1]) if "--threads" in arguments else 1
    except (IndexError, ValueError):
        threads = 0
    if threads < 1:
        parser.error("--threads: expected a number from 1")
    if options.minutes is not None and not options.minutes > 0:
        parser.error(f"--minutes: expected more than 0, got {options.minutes:g}")
    options.limits = Limits(options.limit_s, options.minutes)
    if options.resume and not options.out:
        parser.error("--resume: expected --out FILE beside it")
    if options.build:
        build()
    ours = os.path.join(TARGET, "release", "bench-harness")
    if not shutil.which(ours):
        sys.exit(f"{ours} is missing: --build makes it")
    if arguments == ["all"]:
        # Compiling takes longer than timing, and the default optimisers are never faster.
        options.peers = options.peers or "torch-fused,jax,onnxruntime,candle,burn"
        commands = ALL
    else:
        commands = [(arguments, None)]
    peers, output = peers_there(options), Output(options, ours)
    done = failed = 0
    try:
        for command, which in commands:
            of_command = run(command, which, peers, ours, options, output)
            done, failed = done + of_command[0], failed + of_command[1]
    except OutOfTime:
        why = f"stopped after {options.minutes:g} minutes"
        output.is_a_part(why)
        print(f"{why}: what is whole is there; --resume goes on behind it", file=sys.stderr)
        return 0
    if failed:
        output.is_a_part(f"{failed} of {done + failed} cases failed")
    return 1 if failed and not done else 0


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:
        # Whoever read the lines has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except subprocess.CalledProcessError as error:
        # It has said why.
        sys.exit(f"{' '.join(error.cmd)} ended with {error.returncode}")
    except OSError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted: with --out, --resume goes on behind the last whole case", file=sys.stderr)
        sys.exit(130)
