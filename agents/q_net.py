"""The recurrent action-value network of RL-Restore."""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

VIEW_SIZE: Final = 63
"""Side in pixels of the image that the network looks at."""

HIDDEN_SIZE: Final = 50
EMBEDDING_SIZE: Final = 32


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


class RecurrentQNet(nn.Module):
    """Four strided convolutions, the previous action, an LSTM, one value per action.

    88,063 parameters for twelve tools (87,863 in the original, whose LSTM has one bias vector).
    Beyond the original, images are centred and the embedding is normalised (no parameters).

    Args:
        n_tools: Tools in the toolbox; there is one more action, *stop*.

    Source:
        Yu et al., "Crafting a Toolchain for Image Restoration by Deep Reinforcement Learning",
        CVPR 2018; layers as in the released code.
    """

    def __init__(self, n_tools: int) -> None:
        super().__init__()
        self.n_tools = n_tools
        self.conv1 = nn.Conv2d(3, 32, 9, stride=2, padding=4)
        self.convs = nn.ModuleList(
            [nn.Conv2d(num_in_ch, 24, 5, stride=2) for num_in_ch in (32, 24, 24)]
        )
        self.fc = nn.Linear(24 * 4 * 4, EMBEDDING_SIZE)
        self.lstm = nn.LSTMCell(EMBEDDING_SIZE + n_tools, HIDDEN_SIZE)
        self.head = nn.Linear(HIDDEN_SIZE, n_tools + 1)
        self._initialise()

    def _initialise(self) -> None:
        for conv in (self.conv1, *self.convs):
            assert isinstance(conv, nn.Conv2d)
            fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels
            nn.init.trunc_normal_(conv.weight, std=(2.0 / fan_out) ** 0.5)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():  # remember by default: the original adds 1 to the forget gate
            self.lstm.bias_ih[HIDDEN_SIZE : 2 * HIDDEN_SIZE] += 1.0

    def embed(self, images: Tensor) -> Tensor:
        """Describe views (N, 3, 63, 63) in [0, 1] by 32 numbers each, (N, 32)."""
        feat = functional.relu(self.conv1(images - 0.5))
        for conv in self.convs:
            # TensorFlow's "same" padding of an even side under stride 2: one before, two after.
            feat = functional.relu(conv(functional.pad(feat, (1, 2, 1, 2))))
        feat = functional.relu(self.fc(feat.flatten(1)))
        # Without this, embeddings grow to hundreds in training, the LSTM's gates saturate, and no
        # gradient comes back: every image then gets the same values.
        return functional.layer_norm(feat, (EMBEDDING_SIZE,))

    def remember(
        self, embedding: Tensor, last_action: Tensor, state: LstmState
    ) -> tuple[Tensor, LstmState]:
        """Advance the memory by one step.

        Args:
            embedding: (N, 32) from `embed`.
            last_action: (N,) int64; ``n_tools`` (stop) at the start of an episode.
            state: Memory before the step.

        Returns:
            Action values (N, n_tools + 1) and the memory after the step.
        """
        # Stop has no slot of its own: at the start of an episode all slots are zero.
        one_hot = functional.one_hot(last_action, self.n_tools + 1)[:, : self.n_tools]
        feat = torch.cat([embedding, one_hot.to(embedding)], dim=1)
        state = LstmState(*self.lstm(feat, tuple(state)))
        return self.head(state.hidden), state

    def forward(
        self, images: Tensor, last_action: Tensor, state: LstmState
    ) -> tuple[Tensor, LstmState]:
        """Action values of views and the memory after seeing them; see `embed`, `remember`."""
        return self.remember(self.embed(images), last_action, state)
