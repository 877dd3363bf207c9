"""Ten steps of training in PyTorch, in float64, for the test `tests/tests/pytorch.rs`.

    python steps.py > steps.txt

Any PyTorch will do; the file says which made it. A case is a network, a loss, an optimiser, and what
else there is in a step; the test has the same table, by the same names. The first parameters, inputs
and targets are exact in float32, so that both sides start from the same numbers.

To add a kind of layer: a network below, a case that trains it, and its name in the test.
"""

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.optim import lr_scheduler as schedules

STEPS = 10
BATCH = 8
WIDTHS = (4, 6, 3)

torch.set_default_dtype(torch.float64)
torch.manual_seed(1)


def exact(tensor):
    """The nearest numbers that float32 has."""
    return tensor.float().double()


INPUTS = exact(torch.randn(BATCH, WIDTHS[0]))
LABELS = torch.randint(0, WIDTHS[2], (BATCH,))
VALUES = exact(torch.randn(BATCH, WIDTHS[2]))
# Rows of weights of classes, and probabilities.
SHARES = exact(torch.rand(BATCH, WIDTHS[2]))
CLASS_WEIGHTS = torch.tensor([1.0, 0.5, 3.0])


def plain():
    return nn.Sequential(
        nn.Linear(WIDTHS[0], WIDTHS[1]), nn.Tanh(), nn.Linear(WIDTHS[1], WIDTHS[2])
    )


NETWORKS = {"plain": plain}

LOSSES = {
    "cross_entropy": lambda y: F.cross_entropy(y, LABELS),
    "soft_targets": lambda y: F.cross_entropy(y, SHARES),
    "label_smoothing": lambda y: F.cross_entropy(y, LABELS, label_smoothing=0.25),
    "class_weights": lambda y: F.cross_entropy(y, LABELS, weight=CLASS_WEIGHTS),
    "smoothing_and_weights": lambda y: F.cross_entropy(
        y, LABELS, weight=CLASS_WEIGHTS, label_smoothing=0.25
    ),
    "soft_smoothing_and_weights": lambda y: F.cross_entropy(
        y, SHARES, weight=CLASS_WEIGHTS, label_smoothing=0.25
    ),
    "binary": lambda y: F.binary_cross_entropy_with_logits(y, SHARES),
    "squared": lambda y: F.mse_loss(y, VALUES),
    "absolute": lambda y: F.l1_loss(y, VALUES),
    "huber": lambda y: F.huber_loss(y, VALUES, delta=0.5),
}

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.25),
    "sgd_l2": lambda p: optim.SGD(p, lr=0.25, weight_decay=0.125),
    "momentum": lambda p: optim.SGD(p, lr=0.125, momentum=0.75),
    "nesterov": lambda p: optim.SGD(
        p, lr=0.125, momentum=0.75, nesterov=True, weight_decay=0.125
    ),
    "adam": lambda p: optim.Adam(p, lr=0.03125),
    "adam_l2": lambda p: optim.Adam(p, lr=0.03125, weight_decay=0.125),
    "adamw": lambda p: optim.AdamW(p, lr=0.03125, weight_decay=0.5),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.015625),
    "rmsprop_all": lambda p: optim.RMSprop(
        p, lr=0.015625, alpha=0.75, eps=1e-6, momentum=0.5, centered=True, weight_decay=0.125
    ),
}

SCHEDULES = {
    "step": lambda o: schedules.StepLR(o, 3, gamma=0.5),
    "exponential": lambda o: schedules.ExponentialLR(o, gamma=0.75),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 10, eta_min=0.25 * 0.125),
    "warmup": lambda o: schedules.LinearLR(o, start_factor=0.25, total_iters=5),
    "one_cycle": lambda o: schedules.OneCycleLR(
        o, max_lr=0.25, total_steps=10, cycle_momentum=False
    ),
    "sequence": lambda o: schedules.SequentialLR(
        o,
        [
            schedules.LinearLR(o, start_factor=0.25, total_iters=4),
            schedules.CosineAnnealingLR(o, 6),
        ],
        milestones=[4],
    ),
    "plateau": lambda o: schedules.ReduceLROnPlateau(
        o, factor=0.5, patience=1, threshold=0.25, cooldown=1
    ),
}


def numbers(name, tensor):
    print(name, *(repr(float(x)) for x in tensor.detach().flatten()))


def build(network):
    torch.manual_seed(2)
    net = NETWORKS[network]()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(exact(p))
    return net


def case(loss, optimizer, network="plain", decay="all", clip="none", schedule="none"):
    net = build(network)
    print(f"case {network} {loss} {optimizer} {decay} {clip} {schedule}")
    groups = list(net.parameters())
    if decay == "weights":
        groups = [
            {"params": [p for p in groups if p.dim() > 1]},
            {"params": [p for p in groups if p.dim() == 1], "weight_decay": 0.0},
        ]
    opt = OPTIMIZERS[optimizer](groups)
    scheduler = SCHEDULES[schedule](opt) if schedule != "none" else None
    losses, rates = [], []
    for _ in range(STEPS):
        opt.zero_grad()
        value = LOSSES[loss](net(INPUTS))
        value.backward()
        if clip == "norm":
            nn.utils.clip_grad_norm_(net.parameters(), 0.25)
        if clip == "value":
            nn.utils.clip_grad_value_(net.parameters(), 0.0625)
        losses.append(value.item())
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        if schedule == "plateau":
            scheduler.step(value.item())
        elif scheduler:
            scheduler.step()
    numbers("losses", torch.tensor(losses))
    numbers("rates", torch.tensor(rates))
    numbers("after", nn.utils.parameters_to_vector(net.parameters()))


print(f"# torch {torch.__version__}, made by steps.py")
numbers("inputs", INPUTS)
numbers("labels", LABELS)
numbers("values", VALUES)
numbers("shares", SHARES)
for network in NETWORKS:
    numbers(network, nn.utils.parameters_to_vector(build(network).parameters()))
for optimizer in OPTIMIZERS:
    case("cross_entropy", optimizer)
    case("squared", optimizer, decay="weights")
for loss in LOSSES:
    case(loss, "momentum")
for clip in ["norm", "value"]:
    case("cross_entropy", "sgd", clip=clip)
    case("squared", "adam", clip=clip)
for schedule in SCHEDULES:
    case("cross_entropy", "sgd", schedule=schedule)
