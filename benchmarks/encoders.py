"""How fast the encoders of agents learn to see damage, by Adam and by Muon.

    python -m benchmarks.encoders runs/bsds.h5 --patches 60000

Each learns from the same patches to tell what was done to them (`learning.pretraining`), and is
asked about others that were held out.
"""

import argparse
import time
from pathlib import Path
from typing import Final, get_args

import numpy as np
import torch

from restoration_toolchain.agents.learning.pretraining import examples, pretrain_encoder
from restoration_toolchain.agents.policy.q_net import EncoderName, OptimizerName, make_encoder
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.tools_zoo.macs import count_macs
from restoration_toolchain.tools_zoo.precision import fastest_precision

LEVELS: Final = ("mild", "moderate", "severe", "single", "clean")
FACTS: Final = ("blur", "noise", "JPEG", "error", "clean")


def main() -> None:
    """Train each encoder in turn, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--patches", type=int, default=60_000)
    parser.add_argument("--held-out", type=int, default=1_024)
    parser.add_argument("--encoders", nargs="*", default=get_args(EncoderName))
    args = parser.parse_args()
    precision = fastest_precision(torch.device("cpu"))
    with PatchStore(args.store) as store:
        rng = np.random.default_rng(1)
        chosen = rng.choice(store.val_indices, args.held_out, replace=False)
        views, known = examples(store.read_windows(np.sort(chosen)), sampler(*LEVELS), rng)
        print(f"| encoder | optimizer | MMAC | seconds | {' | '.join(FACTS)} |")
        print(f"|---|---|{'---:|' * (2 + len(FACTS))}")
        spread = known.std(dim=0)
        print(f"| their mean | | | | {' | '.join(f'{value:.3f}' for value in spread)} |")
        for name in args.encoders:
            for optimizer in get_args(OptimizerName):
                torch.manual_seed(0)
                encoder = make_encoder(name)
                began = time.perf_counter()
                head = pretrain_encoder(
                    encoder, store, LEVELS, args.patches, optimizer=optimizer, precision=precision
                )
                seconds = time.perf_counter() - began
                encoder.eval()
                with torch.inference_mode():
                    error = (head(encoder(views)) - known).square().mean(dim=0).sqrt()
                macs = count_macs(encoder, views[:1]) / 1e6
                columns = " | ".join(f"{value:.3f}" for value in error)
                print(
                    f"| {name} | {optimizer} | {macs:.1f} | {seconds:.0f} | {columns} |", flush=True
                )


if __name__ == "__main__":
    main()
