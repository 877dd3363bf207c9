"""JAX: the whole step, or the whole forward pass, as one jit; parameters donated."""

import os
import sys

import sampling

if "--version" not in sys.argv:
    args = sampling.case()
    if args.threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = flags + " --xla_cpu_multi_thread_eigen=false"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np

if "--version" in sys.argv:
    print(jax.__version__)
    sys.exit()

rng = np.random.default_rng(0)
activation = jax.nn.relu if args.activation == "relu" else jnp.tanh


def uniform(*shape, bound=1.0):
    return jnp.asarray(rng.uniform(-bound, bound, shape).astype(np.float32))


def parameters():
    pairs = zip(args.layers, args.layers[1:])
    return [(uniform(i, o, bound=i**-0.5), jnp.zeros(o, jnp.float32)) for i, o in pairs]


def outputs(layers, x):
    for w, b in layers[:-1]:
        x = activation(x @ w + b)
    w, b = layers[-1]
    return x @ w + b


def steps(rate):
    """A step of a training, which gives the loss before it."""
    x = uniform(args.batch, args.layers[0])
    y = jnp.arange(args.batch) % args.layers[-1]

    def loss(layers):
        logits = outputs(layers, x)
        own = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=1) - own)

    def sgd(state):
        (layers,) = state
        value, gradients = jax.value_and_grad(loss)(layers)
        return (jax.tree.map(lambda w, g: w - rate * g, layers, gradients),), value

    def adam(state):
        layers, m, v, t = state
        value, g = jax.value_and_grad(loss)(layers)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        unbias_m, unbias_v = 1 - 0.9**t, 1 - 0.999**t

        def move(w, m, v):
            return w - rate * (m / unbias_m) / (jnp.sqrt(v / unbias_v) + 1e-8)

        return (jax.tree.map(move, layers, m, v), m, v, t), value

    layers = parameters()
    if args.optimizer == "sgd":
        state, update = (layers,), sgd
    else:
        zeros = [jax.tree.map(jnp.zeros_like, layers) for _ in range(2)]
        state, update = (layers, *zeros, jnp.float32(0)), adam
    compiled = jax.jit(update, donate_argnums=0)
    box = [state]

    def step():
        box[0], value = compiled(box[0])
        return value.block_until_ready()

    return step


def training():
    step = steps(sampling.CHECKED_RATE[args.optimizer])
    losses = [float(step()) for _ in range(sampling.CHECKED_STEPS)]
    sampling.check_learning(losses[0], losses[-1])
    return steps(sampling.LEARNING_RATE)


def inference():
    layers = parameters()
    x = uniform(args.batch, args.layers[0])
    compiled = jax.jit(outputs)
    return lambda: compiled(layers, x).block_until_ready()


def product():
    a, b = uniform(args.m, args.k), uniform(args.k, args.n)
    if args.op == "nt":
        b = uniform(args.n, args.k)
    if args.op == "tn":
        a = uniform(args.k, args.m)
    compiled = jax.jit(
        {"nn": lambda a, b: a @ b, "nt": lambda a, b: a @ b.T, "tn": lambda a, b: a.T @ b}[args.op]
    )
    return lambda: compiled(a, b).block_until_ready()


sampling.serve({"gemm": product, "train": training, "infer": inference}[args.suite]())
