"""The worker's side of `bench-harness sample`, for peers written in Python.

A worker is a program that holds one case ready and takes samples of it when asked:

    first line out      the number of calls that make a sample long enough
    line in: a number   take a sample of that many calls
    line out            the nanoseconds they took

It ends when its stdin does. Cases come as arguments, those of bench-harness itself:

    gemm  --m M --n N --k K --op nn|nt|tn --threads T
    train --layers A,B,C --batch B --activation relu|tanh --optimizer sgd|adam --threads T
    infer --layers A,B,C --batch B --activation relu|tanh --threads T
"""

import argparse
import sys
import time

SAMPLE_NS = 1_000_000
"""As in bench-harness: far above the clock's resolution, far below a scheduler's time slice."""

LEARNING_RATE = 1e-4
"""So slow that thousands of steps on one batch keep all numbers in their usual range."""


def case(argv=None):
    """The case that the arguments ask for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", choices=["gemm", "train", "infer"])
    parser.add_argument("--layers", type=lambda text: [int(width) for width in text.split(",")])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--activation", choices=["relu", "tanh"], default="relu")
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="adam")
    parser.add_argument("--m", type=int)
    parser.add_argument("--n", type=int)
    parser.add_argument("--k", type=int)
    parser.add_argument("--op", choices=["nn", "nt", "tn"], default="nn")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


CHECKED_RATE = {"sgd": 1e-1, "adam": 1e-3}
"""Of the network that is checked: with the rate above, the loss of a deep network changes by less in a
few steps than a number in f32 can show."""

CHECKED_STEPS = 10


def check_learning(first, last):
    """Ends the worker if steps on one batch did not make its loss smaller: a fast step that does
    not train is no peer."""
    if not last < first:
        sys.exit(f"expected a loss below {first} after the first steps, got {last}")


def serve(call):
    """Takes samples of `call` until stdin ends. A call returns when its work is done."""

    def sample(calls):
        started = time.perf_counter_ns()
        for _ in range(calls):
            call()
        return time.perf_counter_ns() - started

    call()  # makes ready what the others find
    calls = 1
    while (elapsed := sample(calls)) < SAMPLE_NS:
        calls = int(calls * min(max(1.2 * SAMPLE_NS / max(elapsed, 1), 2.0), 1e3))
    print(calls, flush=True)
    for line in sys.stdin:
        calls = int(line)
        if calls > 1:
            # While the others ran, this one's memory left the caches.
            call()
        print(sample(calls), flush=True)
