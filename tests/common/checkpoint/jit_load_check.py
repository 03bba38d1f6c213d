"""Opens checkpoints with Python's torch and prints the network's output, one number a line.

    jit_load_check.py <checkpoint>

The input is that of tests/data/seed_unet.json.
"""

import math
import sys

import torch


def main() -> None:
    files = {"denoised.json": ""}
    unet = torch.jit.load(sys.argv[1], map_location="cpu", _extra_files=files).eval()
    assert b"format_version" in files["denoised.json"], "the metadata file is missing"
    x = torch.tensor([math.cos(0.37 * i) for i in range(2 * 32 * 32)], dtype=torch.float32).view(2, 1, 32, 32)
    with torch.no_grad():
        output = unet(x, torch.tensor([7, 913]), torch.tensor([3, 8]))
    print("\n".join(repr(value) for value in output.flatten().tolist()))


if __name__ == "__main__":
    main()
