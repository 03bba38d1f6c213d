#!/usr/bin/env python3
"""Judges drawn digits by a network that others have trained, and that has never seen MNIST: the reader of printed and
written text of PaddleOCR, PP-OCRv4, as the package rapidocr-onnxruntime brings it.

    scripts/setup.sh --second-opinion
    build/release/bin/denoise-eval --data data --sampler dpm_solver_pp_2m --seeds 3
    build/second-opinion/bin/python scripts/second_opinion.py --data data --drawn eval/seed-1 eval/seed-2 eval/seed-3

Its features of an image are the last before its letters, a mean over places: 120 numbers. Told are the Frechet distance
of drawn digits from the test images (Heusel et al., arXiv 1706.08500, eq. 6), the same of as many real ones, which is the
floor, and how many of each it reads as meant when it may say nothing but one of ten digits. It reads hand-written digits
less well than print: what counts is how drawn and real ones compare.
"""

import argparse
import gzip
import importlib.util
import pathlib
import struct
import sys
import time
import zlib

try:
    import numpy as np
    import onnx
    import onnxruntime
    from PIL import Image
except ImportError as error:
    sys.exit(f"{error}. Run scripts/setup.sh --second-opinion, then this by build/second-opinion/bin/python.")

SIDE = 48  # of the pictures that the reader takes
FEATURES = "transpose_51.tmp_0"  # [B, places, 120]
LETTERS = "p2o.Add.277"  # [B, places, letters], before the softmax
BATCH = 200


def read_idx(folder: pathlib.Path, name: str, count: int | None) -> np.ndarray:
    """The first `count` entries of an IDX file of bytes, plain or compressed."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not plain.exists() and not packed.exists():
        sys.exit(f"there is no {plain} and no {packed}")
    try:
        data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
        shape = struct.unpack_from(f">{data[3]}I", data, 4)
        values = np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape))
        whole = data[:3] == b"\0\0\x08" and values.size == np.prod(shape)
    except (EOFError, IndexError, OSError, ValueError, struct.error, zlib.error):
        whole = False
    if not whole:
        sys.exit(f"{folder / name} is no whole IDX file of bytes")
    return values.reshape(shape)[:count]


class Reader:
    """PP-OCRv4's network for one line of text, on the CPU."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("rapidocr_onnxruntime")
        if package is None:
            sys.exit("rapidocr-onnxruntime is not installed. Run scripts/setup.sh --second-opinion.")
        model = onnx.load(pathlib.Path(package.origin).parent / "models" / "ch_PP-OCRv4_rec_infer.onnx")
        letters = ["blank", *{entry.key: entry.value for entry in model.metadata_props}["character"].split("\n")]
        self._digits = [letters.index(str(digit)) for digit in range(10)]
        for name in (FEATURES, LETTERS):
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def read(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [N, 120] and digits [N] of images [N, H, W] of bytes, white on black."""
        begin, features, digits = time.monotonic(), [], []
        for at in range(0, len(images), BATCH):
            batch = np.stack([self._input(image) for image in images[at : at + BATCH]])
            of_places, letters = self._session.run([FEATURES, LETTERS], {"x": batch})
            features.append(of_places.mean(1))
            digits.append(letters[:, :, self._digits].max(1).argmax(1))
            if sys.stderr.isatty():
                done = at + len(batch)
                left = (time.monotonic() - begin) / done * (len(images) - done)
                print(f"\r{done} of {len(images)} images, {left:.0f} s left ", end="", file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        return np.concatenate(features), np.concatenate(digits)

    @staticmethod
    def _input(image: np.ndarray) -> np.ndarray:
        scaled = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return np.repeat(np.asarray(scaled, np.float32)[None] / 127.5 - 1, 3, 0)


def scaled(images: np.ndarray, side: int) -> np.ndarray:
    """As denoise-train has scaled what its networks learn from: bilinearly."""
    if images.shape[1:] == (side, side):
        return images
    return np.stack([np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.BILINEAR)) for i in images])


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of the normal distributions that fit features [N, D] and [M, D] best."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of the root of a product is that of the roots of its eigenvalues, which are real and not negative.
    root = np.sqrt(np.clip(np.linalg.eigvals(of_a @ of_b).real, 0, None)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(of_a) + np.trace(of_b) - 2 * root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with MNIST's four files")
    parser.add_argument(
        "--drawn", type=pathlib.Path, required=True, nargs="+", help="folders with what denoise-eval or denoise dataset drew"
    )
    parser.add_argument("--count", type=int, default=10000, help="images of each set at most (10000)")
    parser.add_argument("--draws", type=int, default=30, help="draws of real digits (30)")
    arguments = parser.parse_args()

    images, labels = "images-idx3-ubyte", "labels-idx1-ubyte"
    test = read_idx(arguments.data, f"t10k-{images}", None)
    train = read_idx(arguments.data, f"train-{images}", 3 * arguments.count)
    reader = Reader()
    real = {}  # features of test and training images, by the side of drawn ones: a scaled image has other features
    random = np.random.default_rng(1)
    for folder in arguments.drawn:
        of = "samples" if (folder / f"samples-{labels}").exists() else "train"
        meant = read_idx(folder, f"{of}-{labels}", None)
        if missing := set(range(10)) - set(meant.tolist()):
            sys.exit(f"{folder} has no {min(missing)}: is its drawing complete? the command that began it goes on")
        chosen = random.permutation(len(meant))[: arguments.count]
        drawn = read_idx(folder, f"{of}-{images}", None)[chosen]
        side = drawn.shape[1]
        if side not in real:
            of_test, read = reader.read(scaled(test, side))
            right = np.mean(read == read_idx(arguments.data, f"t10k-{labels}", None))
            print(f"Of {len(test)} test images, {side} pixels wide, it reads {right:.2%} as meant.", flush=True)
            real[side] = of_test, reader.read(scaled(train, side))[0]
        of_test, of_train = real[side]
        of_drawn, read = reader.read(drawn)
        floors = [
            frechet_distance(of_train[random.choice(len(of_train), len(drawn), replace=False)], of_test)
            for _ in range(arguments.draws)
        ]
        floor, distance = np.mean(floors), frechet_distance(of_drawn, of_test)
        right = np.mean(read == meant[chosen])
        print(
            f"{folder}: {len(drawn)} drawn digits have a distance of {distance:.3g}, as many real ones"
            f" {floor:.3g} +- {np.std(floors, ddof=1):.2g} ({len(floors)} draws): {distance / floor:.2f} times the floor."
            f" It reads {right:.2%} of them as meant.",
            flush=True,
        )


if __name__ == "__main__":
    main()
