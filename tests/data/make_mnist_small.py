#!/usr/bin/env python3
"""Cuts the first images out of MNIST, as IDX files: tests/data/make_mnist_small.py <MNIST folder> <output folder>."""

import gzip
import pathlib
import struct
import sys

COUNTS = {"train": 256, "t10k": 64}


def read(folder: pathlib.Path, name: str) -> bytes:
    plain = folder / name
    if plain.exists():
        return plain.read_bytes()
    return gzip.decompress((folder / f"{name}.gz").read_bytes())


def main() -> None:
    source, target = map(pathlib.Path, sys.argv[1:3])
    target.mkdir(parents=True, exist_ok=True)
    for prefix, count in COUNTS.items():
        images = read(source, f"{prefix}-images-idx3-ubyte")
        labels = read(source, f"{prefix}-labels-idx1-ubyte")
        files = {
            f"{prefix}-images-idx3-ubyte": struct.pack(">IIII", 0x803, count, 28, 28) + images[16 : 16 + count * 784],
            f"{prefix}-labels-idx1-ubyte": struct.pack(">II", 0x801, count) + labels[8 : 8 + count],
        }
        for name, data in files.items():
            (target / f"{name}.gz").write_bytes(gzip.compress(data, mtime=0))


if __name__ == "__main__":
    main()
