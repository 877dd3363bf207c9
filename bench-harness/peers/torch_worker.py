"""PyTorch: products, steps of training and forward passes.

`--mode eager` is the default optimiser, `fused` the fused one, `compile` torch.compile of forward
pass and loss with the fused optimiser.
"""

import sys

import torch
from torch import nn
from torch.nn import functional

import sampling

if "--version" in sys.argv:
    print(torch.__version__)
    sys.exit()
mode = "fused"
if "--mode" in sys.argv:
    at = sys.argv.index("--mode")
    mode = sys.argv[at + 1]
    del sys.argv[at : at + 2]
args = sampling.case()
torch.set_num_threads(args.threads)
torch.manual_seed(0)


def network():
    layers = []
    for fan_in, width in zip(args.layers, args.layers[1:]):
        layers += [nn.Linear(fan_in, width), nn.ReLU() if args.activation == "relu" else nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def product():
    a, b = torch.rand(args.m, args.k), torch.rand(args.k, args.n)
    if args.op == "nt":
        b = torch.rand(args.n, args.k).t()
    if args.op == "tn":
        a = torch.rand(args.k, args.m).t()
    c = torch.empty(args.m, args.n)
    return lambda: torch.mm(a, b, out=c)


def steps(rate):
    """The loss of a network, and a step of its training."""
    net = network()
    x = torch.rand(args.batch, args.layers[0]) * 2 - 1
    y = torch.arange(args.batch) % args.layers[-1]
    fused = {} if mode == "eager" else {"fused": True}
    kind = torch.optim.SGD if args.optimizer == "sgd" else torch.optim.Adam
    optimizer = kind(net.parameters(), lr=rate, **fused)

    def loss():
        return functional.cross_entropy(net(x), y)

    forward = torch.compile(loss) if mode == "compile" else loss

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = forward()
        value.backward()
        optimizer.step()

    return loss, step


def training():
    loss, step = steps(sampling.CHECKED_RATE[args.optimizer])
    first = loss().item()
    for _ in range(sampling.CHECKED_STEPS):
        step()
    sampling.check_learning(first, loss().item())
    return steps(sampling.LEARNING_RATE)[1]


def inference():
    net = network().eval()
    x = torch.rand(args.batch, args.layers[0])

    def forward():
        with torch.inference_mode():
            net(x)

    return forward


sampling.serve({"gemm": product, "train": training, "infer": inference}[args.suite]())
