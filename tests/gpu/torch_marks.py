"""The same network by PyTorch on this machine's GPU: eager, and as a CUDA graph, in fp32 and fp16; and the GPU's own
rates. Prints a table, and writes all figures as JSON.

    python3 tests/gpu/torch_marks.py --checkpoint models/mnist.pt --out torch.json

PyTorch is as it comes: its convolutions of fp32 may use the matrix units' TF32. A step is the network and the DDPM update with fresh noise, for one timestep and a label for each image.
"""

import argparse
import json
import statistics
import sys
import time


def seconds_each(torch, work, repeats):
    """Median over five rounds of the seconds that work() takes, by the clock of the caller."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - start) / repeats)
    return statistics.median(rounds), rounds


class Chain:
    """A batch of images and their next step."""

    def __init__(self, torch, unet, images, dtype):
        self.torch, self.unet = torch, unet
        self.x = torch.randn(images, 1, 32, 32, device="cuda", dtype=dtype)
        self.timesteps = torch.full((images,), 500, device="cuda", dtype=torch.int64)
        self.labels = torch.arange(images, device="cuda") % 10

    def step(self):
        e = self.unet(self.x, self.timesteps, self.labels)
        clean = (1.2 * self.x - 0.7 * e).clamp(-1, 1)
        self.x.copy_(0.9 * self.x + 0.1 * clean + 0.1 * self.torch.randn_like(self.x))


def captured(torch, chain):
    """The chain's step as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            chain.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        chain.step()
    return graph.replay


def rates(torch):
    """TFLOP/s of a large fp16 product of matrices of random numbers, and TB/s of a copy, read and written."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    product, _ = seconds_each(torch, lambda: torch.mm(a, b), 10)
    source = torch.empty(2**30, device="cuda", dtype=torch.float16)
    to = torch.empty_like(source)
    copy, _ = seconds_each(torch, lambda: to.copy_(source), 5)
    return 2 * 8192**3 / product * 1e-12, 2 * source.nbytes / copy * 1e-12


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("torch_marks: there is no PyTorch here; nothing was compared")
    if not torch.cuda.is_available():
        sys.exit("torch_marks: this PyTorch cannot use a GPU here; nothing was compared")
    matrix, copy = rates(torch)
    report = {"torch": torch.__version__, "fp16_matrix_tflops": matrix, "copy_tb_per_second": copy, "cases": []}
    print(f"PyTorch {torch.__version__}: fp16 matrix products {matrix:.0f} TFLOP/s, copies {copy:.2f} TB/s")
    print(f"{'images':>8} {'precision':>10} {'how':>12} {'ms a step':>10} {'1000-step digits/s':>20}")
    torch.backends.cudnn.benchmark = True
    with torch.no_grad():
        for dtype, name in ((torch.float16, "fp16"), (torch.float32, "fp32")):
            unet = torch.jit.load(arguments.checkpoint, map_location="cuda").eval().to(dtype)
            for images in (1, 64, 256, 1024):
                for how in ("eager", "CUDA graph"):
                    chain = Chain(torch, unet, images, dtype)
                    case = {"images": images, "precision": name, "how": how}
                    try:
                        work = chain.step if how == "eager" else captured(torch, chain)
                        seconds, rounds = seconds_each(torch, work, 20)
                    except RuntimeError as error:
                        report["cases"].append({**case, "error": str(error)})
                        print(f"{images:8} {name:>10} {how:>12}  failed: {str(error).splitlines()[-1][:60]}")
                        continue
                    report["cases"].append({**case, "seconds": rounds})
                    print(f"{images:8} {name:>10} {how:>12} {1e3 * seconds:10.3f} {images / seconds / 1000:20.1f}")
                    sys.stdout.flush()
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
