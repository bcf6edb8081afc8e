"""Recurrent action-value networks: RL-Restore's, and one that reads image statistics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.training.muon import Muon

VIEW_SIZE: Final = 63
"""Side in pixels of the image that the network looks at."""

HIDDEN_SIZE: Final = 50

LEVELS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
"""Probabilities of the quantiles of a gain; closest where harm begins."""
_MEDIAN: Final = LEVELS.index(0.5)

EPS: Final = 1e-5
"""Energy that counts as none; a grey level of 8 bits is 6e-5."""

EncoderName = Literal[
    "pooled_statistics", "fine_statistics", "local_statistics", "statistics", "rl_restore"
]

OptimizerName = Literal["muon", "adam"]

DEFAULT_ENCODER: Final[EncoderName] = "fine_statistics"


class LstmState(NamedTuple):
    """Memory of a batch of episodes; both (n_envs, hidden_size)."""

    hidden: Tensor
    cell: Tensor

    @classmethod
    def zeros(cls, n_envs: int, device: torch.device | str = "cpu") -> "LstmState":
        """The memory at the start of episodes."""
        return cls(*(torch.zeros(n_envs, HIDDEN_SIZE, device=device) for _ in range(2)))

    def masked(self, keep: Tensor) -> "LstmState":
        """Forget where ``keep`` (n_envs,) is False."""
        mask = keep.to(self.hidden).unsqueeze(1)
        return LstmState(self.hidden * mask, self.cell * mask)


class Encoder(nn.Module):
    """What an agent sees with.

    Attributes:
        out_features: Numbers that it says of a view.
        only_side: The one side in pixels of the views that it can look at; None if any will do.
        view_grid: Views of a photo begin at multiples of this many pixels. JPEG works in blocks
            that are counted from the corner of a photo. To an agent that learnt from patches which
            were cut anywhere, blocks that always begin at the corner are a sign of something.
        has_shortcut: Whether what it says alone is a part of the action values.
        is_pooled: Whether what it says of views of one photo may be averaged, and then says what
            the photo looks like; otherwise, action values of views are averaged.
    """

    out_features: ClassVar[int]
    only_side: ClassVar[int | None] = None
    view_grid: ClassVar[int] = 1
    has_shortcut: ClassVar[bool] = True
    is_pooled: ClassVar[bool] = False

    def read(self, said: Tensor) -> Tensor:
        """Conclude from what was said, (N, F), what goes into memory, (N, out_features)."""
        return said

    def measure(self, images: Tensor) -> Tensor:
        """Statistics (N, D) of views (N, 3, H, W), before any layer that learnt what matters."""
        measured: Tensor = self(images)
        return measured


class RlRestoreEncoder(Encoder):
    """Four strided convolutions and a linear layer: what RL-Restore's agent sees with.

    Unlike the original, images are scaled to [-1, 1] and the convolutions start by fan-in: with
    raw images and the original's fan-out start, features grow to hundreds, the LSTM's gates
    saturate, and every image gets the same values. The original learnt from patches that were
    compressed on their own, with a JPEG block at their corner.

    Source:
        Yu et al., "Crafting a Toolchain for Image Restoration by Deep Reinforcement Learning",
        CVPR 2018; layers as in the released code.
    """

    out_features = 32
    only_side = VIEW_SIZE
    view_grid = 8  # side of a block of JPEG
    has_shortcut = False

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 9, stride=2, padding=4)
        self.convs = nn.ModuleList(
            [nn.Conv2d(num_in_ch, 24, 5, stride=2) for num_in_ch in (32, 24, 24)]
        )
        self.fc = nn.Linear(24 * 4 * 4, self.out_features)
        _start_by_fan_in(self)

    def forward(self, images: Tensor) -> Tensor:
        """Describe views (N, 3, 63, 63) in [0, 1] by 32 numbers each, (N, 32)."""
        feat = functional.relu(self.conv1(2.0 * images - 1.0))
        for conv in self.convs:
            # TensorFlow's "same" padding of an even side under stride 2: one before, two after.
            feat = functional.relu(conv(functional.pad(feat, (1, 2, 1, 2))))
        return functional.relu(self.fc(feat.flatten(1)))


@dataclass(frozen=True, slots=True)
class StatisticsLayers:
    """Shape of a `StatisticsEncoder`.

    Attributes:
        convs: Output channels, kernel side, stride and padding of each convolution.
        area_sides: Side of the areas whose energies are measured too, for the first convolutions.
        slope: Slope of the leaky ReLU below zero.
        hidden: Width of the layer behind the statistics.
    """

    convs: tuple[tuple[int, int, int, int], ...]
    area_sides: tuple[int, ...] = ()
    slope: float = 0.0
    hidden: int = 64


_COARSE: Final = ((24, 7, 2, 3), (32, 3, 2, 0), (48, 3, 2, 0), (64, 3, 2, 0))
_FINE: Final = ((12, 3, 1, 1), (24, 3, 2, 1), (48, 3, 2, 1), (64, 3, 1, 1), (96, 3, 2, 1))
STATISTICS_LAYERS: Final[Mapping[EncoderName, StatisticsLayers]] = {
    "pooled_statistics": StatisticsLayers(_FINE, (16, 8, 8, 5), slope=0.1, hidden=128),
    "fine_statistics": StatisticsLayers(_FINE, (16, 8, 8, 5), slope=0.1, hidden=128),
    "local_statistics": StatisticsLayers(_COARSE, (8, 5)),
    "statistics": StatisticsLayers(_COARSE),
}


class StatisticsEncoder(Encoder):
    """Log energies of learnt filters at several scales: what damage, not content, looks like.

    Noise, blur and compression show in how much energy an image has in which frequencies, not in
    where. So each convolution hands on, besides its features, the logarithm of the mean square of
    its responses, and nothing depends on position. It learns several times faster than
    `RlRestoreEncoder` (docs/results.md).

    Energies of small areas tell noise from texture: noise is everywhere, texture is not, so the
    quietest area and the geometric mean of all differ. A first convolution at full resolution, and
    more of them, sees the edges of JPEG blocks.

    Args:
        name: One of `STATISTICS_LAYERS`.
    """

    out_features = 64
    says: ClassVar[int] = 64

    def __init__(self, name: EncoderName = DEFAULT_ENCODER) -> None:
        super().__init__()
        layers = STATISTICS_LAYERS[name]
        self._area_sides, self._slope = layers.area_sides, layers.slope
        channels = [conv[0] for conv in layers.convs]
        self.conv1, *convs = (
            nn.Conv2d(num_in_ch, *conv)
            for num_in_ch, conv in zip([3, *channels], layers.convs, strict=False)
        )
        self.convs = nn.ModuleList(convs)
        num_statistics = sum(channels) + channels[-1] + 2 * sum(channels[: len(self._area_sides)])
        self.norm = nn.BatchNorm1d(num_statistics)
        self.fc1 = nn.Linear(num_statistics, layers.hidden)
        self.fc2 = nn.Linear(layers.hidden, self.says)
        _start_by_fan_in(self)
        with torch.no_grad():  # two thirds of the first filters start blind to brightness
            high_pass = self.conv1.weight[: channels[0] * 2 // 3]
            high_pass -= high_pass.mean(dim=(2, 3), keepdim=True)

    def forward(self, images: Tensor) -> Tensor:
        """Describe views (N, 3, H, W) in [0, 1], 31 px or larger, by 64 numbers each, (N, 64)."""
        hidden = functional.relu(self.fc1(self.norm(self.measure(images))))
        return functional.relu(self.fc2(hidden))

    def measure(self, images: Tensor) -> Tensor:
        """Measure the statistics themselves, (N, norm.num_features); those of areas come last."""
        feat = 2.0 * images - 1.0
        energies, statistics = [], []
        for conv in (self.conv1, *self.convs):
            response = conv(feat)
            energies.append(response.square())
            statistics.append(torch.log(energies[-1].mean(dim=(2, 3)) + EPS))
            feat = functional.leaky_relu(response, self._slope)
        statistics.append(feat.mean(dim=(2, 3)))
        for energy, side in zip(energies, self._area_sides, strict=False):
            areas = torch.log(functional.avg_pool2d(energy, side) + EPS).flatten(2)
            statistics += [areas.mean(dim=2), areas.amin(dim=2)]
        return torch.cat(statistics, dim=1)


class PooledEncoder(StatisticsEncoder):
    """Statistics that views of one photo put together before anything is concluded from them.

    One view of a sky tells little of what happened to a photo; all views together do. So what is
    said of a view are numbers and their squares. The means of both over views say what is typical
    of the photo, and how much it varies; from them follows what is remembered.
    """

    out_features = 128
    is_pooled = True

    def __init__(self, name: EncoderName) -> None:
        super().__init__(name)
        self.fc3 = nn.Linear(2 * self.says, self.out_features)

    def forward(self, images: Tensor) -> Tensor:
        """Describe views (N, 3, H, W) in [0, 1], 31 px or larger, by numbers that may be averaged.

        Returns:
            (N, 2 * says): numbers that are not negative, and their squares.
        """
        said = super().forward(images)
        return torch.cat([said, said.square()], dim=1)

    def read(self, said: Tensor) -> Tensor:
        """Conclude from the means of numbers and of squares, (N, 2 * says)."""
        mean, square = said.chunk(2, dim=1)
        typical = torch.cat([mean, (square + 1e-6).sqrt()], dim=1)
        return functional.relu(self.fc3(typical))


ENCODERS: Final[Mapping[str, type[Encoder]]] = {
    **dict.fromkeys(STATISTICS_LAYERS, StatisticsEncoder),
    "pooled_statistics": PooledEncoder,
    "rl_restore": RlRestoreEncoder,
}
"""Class of each encoder."""


def find_encoder(name: str) -> type[Encoder]:
    """Class of an encoder, whose attributes say what it needs; an unknown name is an error."""
    if name not in ENCODERS:
        raise UnknownNameError("encoder", name, ENCODERS)
    return ENCODERS[name]


def make_encoder(name: EncoderName) -> Encoder:
    """An encoder with fresh weights; errors as for `find_encoder`."""
    kind = find_encoder(name)
    return kind(name) if issubclass(kind, StatisticsEncoder) else kind()


class RecurrentQNet(nn.Module):
    """An encoder of the image, the previous action, an LSTM, one value per action.

    With the encoder ``rl_restore`` and twelve tools, the 88,063 parameters of RL-Restore's agent
    (87,863 in the original, whose LSTM has one bias vector). With the others, values are the sum
    of what the LSTM and what the encoder alone says: the memory corrects a first impression.

    A value is a mean. With ``quantiles``, the network also says how the gain of the next step of
    each tool is distributed: what it is at least with a probability of 99.5 %, 99 %, and so on.

    Args:
        n_tools: Tools in the toolbox; there is one more action, *stop*.
        encoder: Name of the encoder.
        quantiles: Whether it knows distributions.
    """

    def __init__(
        self, n_tools: int, encoder: EncoderName = DEFAULT_ENCODER, *, quantiles: bool = False
    ) -> None:
        super().__init__()
        self.n_tools = n_tools
        self.encoder_name: EncoderName = encoder
        self.encoder = make_encoder(encoder)
        self.lstm = nn.LSTMCell(self.encoder.out_features + n_tools, HIDDEN_SIZE)
        self.head = nn.Linear(HIDDEN_SIZE, n_tools + 1)
        self.shortcut = None
        if self.encoder.has_shortcut:
            self.shortcut = nn.Linear(self.encoder.out_features, n_tools + 1)
        self.spread = None
        if quantiles:
            features = HIDDEN_SIZE + self.encoder.out_features
            self.spread = nn.Linear(features, n_tools * len(LEVELS))
        for layer in filter(None, (self.head, self.shortcut, self.spread)):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():  # remember by default: the original adds 1 to the forget gate
            self.lstm.bias_ih[HIDDEN_SIZE : 2 * HIDDEN_SIZE] += 1.0

    def see(self, images: Tensor, precision: Precision = "fp32") -> Tensor:
        """Look at views (N, 3, H, W) in [0, 1]: (N, out_features) float32.

        The encoder computes in ``precision``.
        """
        with computing(precision, images.device):
            embedding: Tensor = self.encoder(images)
        return embedding.float()

    def remember(
        self, embedding: Tensor, last_action: Tensor, state: LstmState
    ) -> tuple[Tensor, LstmState]:
        """Advance the memory by one step.

        Args:
            embedding: What the encoder says (`see`), (N, F).
            last_action: (N,) int64; ``n_tools`` (stop) at the start of an episode.
            state: Memory before the step.

        Returns:
            Action values (N, n_tools + 1) and the memory after the step.
        """
        values, _, state = self.judge(embedding, last_action, state)
        return values, state

    def judge(
        self, embedding: Tensor, last_action: Tensor, state: LstmState
    ) -> tuple[Tensor, Tensor | None, LstmState]:
        """`remember`, with the distributions of what tools gain, if they are known.

        Returns:
            Action values, (N, n_tools, len(LEVELS)) quantiles in rising order, and the memory.
        """
        read = self.encoder.read(embedding)
        # Stop has no slot of its own: at the start of an episode all slots are zero.
        one_hot = functional.one_hot(last_action, self.n_tools + 1)[:, : self.n_tools]
        feat = torch.cat([read, one_hot.to(read)], dim=1)
        state = LstmState(*self.lstm(feat, tuple(state)))
        values = self.head(state.hidden)
        if self.shortcut is not None:
            values = values + self.shortcut(read)
        quantiles = None
        if self.spread is not None:
            raw = self.spread(torch.cat([state.hidden, read], dim=1))
            quantiles = rising(raw.reshape(len(raw), self.n_tools, len(LEVELS)))
        return values, quantiles, state

    def forward(
        self, images: Tensor, last_action: Tensor, state: LstmState
    ) -> tuple[Tensor, LstmState]:
        """Action values of views and the memory after seeing them; see `see` and `remember`."""
        return self.remember(self.see(images), last_action, state)


def rising(raw: Tensor) -> Tensor:
    """Quantiles from any numbers (..., len(LEVELS)): the median, and steps up and down from it."""
    steps, middle = functional.softplus(raw), raw[..., _MEDIAN : _MEDIAN + 1]
    down = steps[..., :_MEDIAN].flip(-1).cumsum(dim=-1).flip(-1)
    up = steps[..., _MEDIAN + 1 :].cumsum(dim=-1)
    return torch.cat([middle - down, middle, middle + up], dim=-1)


def make_optimizer(
    name: OptimizerName, encoder: nn.Module, others: Iterable[nn.Module], learning_rate: float
) -> torch.optim.Optimizer:
    """Adam, or Muon for the matrices of an encoder and Adam for all else.

    Args:
        name: Name of the optimiser.
        encoder: Network that looks at images; docs/results.md says what Muon does for it.
        others: Networks that follow.
        learning_rate: Learning rate of Adam; Muon's is larger by a factor
            (`tools_zoo.training.muon`).
    """
    rest = [parameter for module in others for parameter in module.parameters()]
    seeing = list(encoder.parameters())
    if name == "adam":
        return torch.optim.Adam([*seeing, *rest], lr=learning_rate)
    if name != "muon":
        raise UnknownNameError("optimizer", name, get_args(OptimizerName))
    rest += [parameter for parameter in seeing if parameter.ndim < 2]
    matrices = [parameter for parameter in seeing if parameter.ndim >= 2]
    groups = [{"params": matrices, "orthogonal": True}, {"params": rest, "orthogonal": False}]
    return Muon(groups, learning_rate)


def _start_by_fan_in(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            assert part.bias is not None
            nn.init.zeros_(part.bias)
