"""Ten steps of training in PyTorch, in float64, for the test `tests/tests/pytorch.rs`.

    python steps.py > steps.txt

Any PyTorch will do; the file says which made it. A case is a network, a loss, an optimiser, and what
else there is in a step; the test has the same table, by the same names. The first parameters, inputs
and targets are exact in float32, so that both sides start from the same numbers.

To add a kind of layer: a network below, a case that trains it, and its name in the test. Cases of
networks with a parameter whose gradient is 0 but for rounding (a bias before a norm, the bias of keys)
keep to optimisers that do not divide by its size. Settings are such that PyTorch itself, run in float32,
ends well within 1e-5 of the file: what a step makes of a rounding is no larger.
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
# Of padded rows it makes zeros, which no training does.
torch.backends.mha.set_fastpath_enabled(False)


def exact(tensor):
    """The nearest numbers that float32 has."""
    return tensor.float().double()


INPUTS = exact(torch.randn(BATCH, WIDTHS[0]))
LABELS = torch.randint(0, WIDTHS[2], (BATCH,))
VALUES = exact(torch.randn(BATCH, WIDTHS[2]))
# Rows of weights of classes, and probabilities.
SHARES = exact(torch.rand(BATCH, WIDTHS[2]))
# For the network that embeds them.
SYMBOLS = 5
SEQUENCES = torch.randint(0, SYMBOLS, (BATCH, WIDTHS[0])).double()
# Sequences of 4, 2, 3 and 1 of them, filled up with 0.
PADDED = torch.tensor(
    [[1, 4, 2, 3], [3, 1, 0, 0], [2, 2, 4, 0], [4, 0, 0, 0]] * (BATCH // 4)
).double()
CLASS_WEIGHTS = torch.tensor([1.0, 0.5, 3.0])
SAMPLE_WEIGHTS = torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0, 0.25, 3.0, 1.0])
# Sequences of so many rows, where a network has them.
STEPS_OF_SEQUENCE = 3


def plain():
    return nn.Sequential(
        nn.Linear(WIDTHS[0], WIDTHS[1]), nn.Tanh(), nn.Linear(WIDTHS[1], WIDTHS[2])
    )


def around(*hidden, inputs=WIDTHS[0]):
    """Layers of 6 columns between a dense layer and another."""
    return nn.Sequential(nn.Linear(inputs, WIDTHS[1]), *hidden, nn.Linear(WIDTHS[1], WIDTHS[2]))


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Beside(nn.Sequential):
    def forward(self, x):
        return torch.cat([x, super().forward(x)], dim=1)


class Projected(nn.Module):
    """`block(x) + x P^T`"""

    def __init__(self, block, inputs, outputs):
        super().__init__()
        self.block = block
        self.projection = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x):
        return self.block(x) + self.projection(x)

    def ordered(self):
        return [*ordered(self.block), self.projection.weight]


class Skips(nn.Module):
    """`h_l = tanh(W h_(l-1) + b) + h_(l-2)` for l = 2 and 3, and the plain layers before."""

    def __init__(self):
        super().__init__()
        widths = [WIDTHS[0], 6, 6, 6, 6]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x):
        h = [torch.tanh(self.layers[0](x))]
        h.append(torch.tanh(self.layers[1](h[0])))
        for layer in self.layers[2:]:
            h.append(torch.tanh(layer(h[-1])) + h[-2])
        return h[-1]

    def ordered(self):
        return list(self.parameters())


def causal_mask(steps):
    """True where a row may not look."""
    return torch.ones(steps, steps, dtype=torch.bool).triu(1)


class Attention(nn.MultiheadAttention):
    """Every row of a sequence looks at every row, or at those before it; at none of the padding."""

    def __init__(self, causal, padded=False):
        super().__init__(WIDTHS[0], 2, batch_first=True)
        self.causal = causal
        self.padded = padded

    def forward(self, x):
        masks = {
            "attn_mask": causal_mask(x.shape[1]) if self.causal else None,
            "key_padding_mask": PADDED == 0 if self.padded else None,
        }
        return super().forward(x, x, x, need_weights=False, **masks)[0]


class Symbols(nn.Module):
    """A row for each symbol, and one for its place."""

    def __init__(self):
        super().__init__()
        self.symbols = nn.Embedding(SYMBOLS, WIDTHS[0])
        self.places = nn.Parameter(torch.randn(WIDTHS[0], WIDTHS[0]))

    def forward(self, x):
        return self.symbols(x.long()) + self.places

    def ordered(self):
        return [self.symbols.weight, self.places]


class Encoder(nn.TransformerEncoderLayer):
    def __init__(self, masked=False):
        self.masked = masked
        super().__init__(
            WIDTHS[0],
            2,
            dim_feedforward=6,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )

    def forward(self, x):
        if not self.masked:
            return super().forward(x)
        masks = {"src_mask": causal_mask(x.shape[1]), "src_key_padding_mask": PADDED == 0}
        return super().forward(x, **masks)

    def ordered(self):
        parts = [self.norm1, self.self_attn, self.norm2, self.linear1, self.linear2]
        return [p for part in parts for p in part.parameters()]


def sequences(*layers):
    """Layers over sequences of 3 rows of 4 columns."""
    flat = STEPS_OF_SEQUENCE * WIDTHS[0]
    return nn.Sequential(
        nn.Linear(WIDTHS[0], flat),
        nn.Unflatten(1, (STEPS_OF_SEQUENCE, WIDTHS[0])),
        *layers,
        nn.Flatten(1),
        nn.Linear(flat, WIDTHS[2]),
    )


def batch_norm():
    # First and last: no bias that a norm takes away.
    return nn.Sequential(
        nn.BatchNorm1d(WIDTHS[0]),
        nn.Linear(WIDTHS[0], WIDTHS[1]),
        nn.Tanh(),
        nn.BatchNorm1d(WIDTHS[1], momentum=0.1),
        nn.Linear(WIDTHS[1], WIDTHS[2]),
    )


ACTIVATIONS = {
    "sigmoid": nn.Sigmoid(),
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.125),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "elu": nn.ELU(0.5),
    "softplus": nn.Softplus(),
}

BLOCKS = {
    "batch_norm": batch_norm,
    "layer_norm": lambda: around(nn.Tanh(), nn.LayerNorm(WIDTHS[1])),
    "residual": lambda: around(Residual(nn.Linear(6, 6), nn.Tanh())),
    "residual_after": lambda: around(
        Residual(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6)), nn.ReLU()
    ),
    "residual_before": lambda: around(
        Residual(nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    ),
    "residual_projected": lambda: nn.Sequential(
        nn.Linear(4, 6),
        Projected(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 5)), 6, 5),
        nn.Linear(5, 3),
    ),
    "skip": lambda: nn.Sequential(Skips(), nn.Linear(6, 3)),
    "skip_projected": lambda: nn.Sequential(
        nn.Linear(4, 6),
        nn.Tanh(),
        Projected(nn.Sequential(nn.Linear(6, 5), nn.Tanh()), 6, 5),
        nn.Linear(5, 3),
    ),
    "dense_connections": lambda: nn.Sequential(
        Beside(nn.Linear(4, 3), nn.Tanh()), Beside(nn.Linear(7, 2), nn.Tanh()), nn.Linear(9, 3)
    ),
    "attention": lambda: sequences(Attention(causal=False)),
    "causal_attention": lambda: sequences(Attention(causal=True)),
    "transformer": lambda: sequences(Encoder()),
    "symbols": lambda: nn.Sequential(
        Symbols(), Encoder(), nn.LayerNorm(4), nn.Flatten(1), nn.Linear(16, 3)
    ),
    "padded_attention": lambda: nn.Sequential(
        Symbols(), Attention(causal=False, padded=True), nn.Flatten(1), nn.Linear(16, 3)
    ),
    "padded_causal_attention": lambda: nn.Sequential(
        Symbols(), Attention(causal=True, padded=True), nn.Flatten(1), nn.Linear(16, 3)
    ),
    "padded_causal_transformer": lambda: nn.Sequential(
        Symbols(), Encoder(masked=True), nn.Flatten(1), nn.Linear(16, 3)
    ),
}

NETWORKS = {
    "plain": plain,
    **{name: lambda act=act: around(act) for name, act in ACTIVATIONS.items()},
    **BLOCKS,
}

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
    "sample_weights": lambda y: (
        (F.mse_loss(y, VALUES, reduction="none").mean(1) * SAMPLE_WEIGHTS).sum()
        / SAMPLE_WEIGHTS.sum()
    ),
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
        p, lr=0.015625, alpha=0.75, eps=1e-3, momentum=0.5, centered=True, weight_decay=0.125
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
    # Nine digits tell any two numbers of float32 apart, and are far below what is compared.
    print(name, *(f"{float(x):.9g}" for x in tensor.detach().flatten()))


def ordered(net):
    """The parameters in the order of their layers."""
    if hasattr(net, "ordered"):
        return net.ordered()
    if isinstance(net, nn.Sequential):
        return [p for layer in net for p in ordered(layer)]
    return list(net.parameters())


def build(network):
    torch.manual_seed(2)
    net = NETWORKS[network]()
    with torch.no_grad():
        for p in ordered(net):
            # Away from gammas of 1 and biases of 0, which hide mistakes.
            noise = 0.25 * torch.randn_like(p) if network in BLOCKS else 0.0
            p.copy_(exact(p + noise))
    return net


def inputs_of(network):
    if network.startswith("padded"):
        return PADDED
    return SEQUENCES if network == "symbols" else INPUTS


def case(loss, optimizer, network="plain", decay="all", clip="none", schedule="none"):
    net = build(network)
    print(f"case {network} {loss} {optimizer} {decay} {clip} {schedule}")
    groups = ordered(net)
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
        value = LOSSES[loss](net(inputs_of(network)))
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
    numbers("after", nn.utils.parameters_to_vector(ordered(net)))
    for name, buffer in net.named_buffers():
        if "running" in name:
            numbers(name, buffer)
    net.eval()
    with torch.no_grad():
        numbers("answers", net(inputs_of(network)))


print(f"# torch {torch.__version__}, made by steps.py")
numbers("inputs", INPUTS)
numbers("labels", LABELS)
numbers("values", VALUES)
numbers("shares", SHARES)
numbers("sequences", SEQUENCES)
numbers("padded", PADDED)
for network in NETWORKS:
    params = ordered(build(network))
    numbers(network, nn.utils.parameters_to_vector(params))
    print(f"{network}.sizes", *(p.numel() for p in params))
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
for network in NETWORKS:
    if network not in ["plain", "batch_norm"]:
        case("cross_entropy", "momentum", network=network)
for optimizer in OPTIMIZERS:
    case("cross_entropy", optimizer, network="batch_norm")
for loss in LOSSES:
    if loss != "cross_entropy":
        case(loss, "momentum", network="batch_norm")
