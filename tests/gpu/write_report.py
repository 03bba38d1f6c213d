"""Makes docs/benchmarks/cuda.md of what scripts/gpu_report.sh has measured: the tables between the marks in it, the plot
cuda.png where matplotlib is there, and all raw figures as cuda.json.

    python3 tests/gpu/write_report.py --raw FOLDER --out docs/benchmarks --template docs/benchmarks/cuda.md
"""

import argparse
import csv
import json
import pathlib
import re
import statistics
import sys

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MACHINE = ("gpu", "driver", "clock", "highest_clock", "memory_clock", "power", "power_limit", "temperature")
COUNTERS = {
    "gpu__time_duration.sum": "duration",
    "sm__inst_executed.sum": "warp instructions",
    "sm__inst_executed.avg.per_cycle_active": "instructions a clock and multiprocessor",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active": "matrix units busy, %",
    "l1tex__t_sector_hit_rate.pct": "hits of the first-level cache, %",
    "lts__t_bytes.sum": "bytes through the second-level cache",
    "launch__registers_per_thread": "registers a thread",
    "launch__shared_mem_per_block_dynamic": "shared memory a block",
    "launch__grid_size": "blocks",
}


def load(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def machine(raw, name):
    path = raw / name
    cells = [cell.strip() for cell in path.read_text(encoding="utf-8").split(",")] if path.exists() else []
    return dict(zip(MACHINE, cells))


def stages(raw):
    """Each stage: its title, and what became of it."""
    found = []
    for title, verdict, log in csv.reader((raw / "stages.tsv").open(encoding="utf-8"), delimiter="\t"):
        text = verdict if not verdict.isdigit() else "passed" if verdict == "0" else f"FAILED ({verdict})"
        if log == "gpu_tests.log":
            text += "".join(f", {count} tests" for count in re.findall(r"PASSED  \] (\d+)", (raw / log).read_text("utf-8")))
        if log == "gpu_server.log" and verdict == "0":
            text += "; " + next(line for line in (raw / log).read_text("utf-8").splitlines() if "the same bytes" in line)
        found.append((title, text))
    return found


def counters(raw, images):
    """Of one step, by the names of COUNTERS; empty where there are none."""
    path = raw / f"gpu_counters_{images}.log"
    if not path.exists():
        return {}
    lines = [line for line in path.read_text("utf-8").splitlines() if line.startswith('"')]
    rows = list(csv.reader(lines))
    if len(rows) < 3:
        return {}
    return {COUNTERS[name]: f"{value} {unit}".strip().removesuffix(" inst/cycle").removesuffix(" %")
            for name, unit, value in zip(rows[0], rows[1], rows[2]) if name in COUNTERS}


def median(values):
    return statistics.median(values)


def spread(values):
    return f"{100 * (max(values) - min(values)) / median(values):.1f} %"


def marks_table(engine, operations):
    rows = []
    for case in engine["cases"]:
        seconds, kernel = case["seconds"], case["kernel_seconds"]
        rate = case["images"] / median(seconds) / 1000
        flops = (case["images"] + case["guided"]) * operations / median(seconds) * 1e-12
        rows.append((case["name"], f"{1e3 * median(seconds):.4f}", spread(seconds), f"{1e3 * median(kernel):.4f}",
                     f"{rate:.1f}", f"{flops:.1f}"))
    header = ("Images", "ms a step", "Spread", "of which kernel", "1000-step digits a second", "TFLOP/s")
    return table(header, rows)


def torch_table(torch, ours):
    """Beside our own engine at as many images."""
    rows = []
    for case in torch["cases"]:
        if "seconds" not in case:
            continue
        own = ours.get((case["precision"], case["images"]))
        seconds = median(case["seconds"])
        rows.append((case["images"], case["precision"], case["how"], f"{1e3 * seconds:.3f}", spread(case["seconds"]),
                     f"{case['images'] / seconds / 1000:.1f}", f"{seconds / own:.1f}" if own else ""))
    header = ("Images", "Precision", "How", "ms a step", "Spread", "1000-step digits a second", "Times ours")
    return table(header, rows)


def plot(path, marks, torch):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.4), dpi=150)
    for engine in marks["engines"]:
        cases = [case for case in engine["cases"] if case["name"] == str(case["images"])]
        axes.plot([case["images"] for case in cases], [case["images"] / median(case["seconds"]) / 1000 for case in cases],
                  marker="o", markersize=4, label=f"denoised, {engine['precision']}")
    for how in ("CUDA graph", "eager"):
        cases = [case for case in (torch or {"cases": []})["cases"]
                 if case["how"] == how and case["precision"] == "fp16" and "seconds" in case]
        if cases:
            axes.plot([case["images"] for case in cases],
                      [case["images"] / median(case["seconds"]) / 1000 for case in cases],
                      marker="s", markersize=4, linestyle="--", label=f"PyTorch {torch['torch']}, fp16, {how}")
    axes.set(xscale="log", yscale="log", xlabel="images at the same time", ylabel="digits of 1000 steps a second")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("raw", "out", "template"):
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    raw, out = arguments.raw, arguments.out
    marks, torch = load(raw / "marks.json"), load(raw / "torch.json")
    before, busy = machine(raw, "machine.csv"), machine(raw, "machine_busy.csv")
    text = [f"On one {before['gpu']}, driver {before['driver']}, highest clock {before['highest_clock']}, power limit "
            f"{before['power_limit']}; just after the marks at {busy.get('clock', '?')}, {busy.get('power', '?')}, "
            f"{busy.get('temperature', '?')} °C. By `scripts/gpu_report.sh`.",
            table(("Stage", "What became of it"), stages(raw))]
    ours = {}
    if marks:
        for engine in marks["engines"]:
            text += [f"### In {engine['precision']}", f"`{engine['description']}`",
                     marks_table(engine, marks["operations_per_row"])]
            for case in engine["cases"]:
                if case["name"] == str(case["images"]):
                    ours[engine["precision"], case["images"]] = median(case["seconds"])
    if torch:
        text += ["### The same network by PyTorch",
                 f"PyTorch {torch['torch']}; on this GPU it multiplies large matrices of fp16 at "
                 f"{torch['fp16_matrix_tflops']:.0f} TFLOP/s and copies at {torch['copy_tb_per_second']:.2f} TB/s.",
                 torch_table(torch, ours)]
    profiles = {images: counters(raw, images) for images in (1, 264)}
    if any(profiles.values()):
        names = [name for name in COUNTERS.values() if any(name in profile for profile in profiles.values())]
        text += ["### Counters of a step in fp16", table(("", "1 image", "264 images"), [
            (name, *(profile.get(name, "") for profile in profiles.values())) for name in names])]
    served = raw / "gpu_server.log"
    if served.exists():
        text += ["### Through gRPC, on the same machine", "```\n" + "\n".join(
            line.rstrip() for line in served.read_text("utf-8").splitlines() if line.strip()) + "\n```"]
    template = arguments.template.read_text(encoding="utf-8")
    if BEGIN not in template or END not in template:
        sys.exit(f"{arguments.template} has no place for figures: the lines {BEGIN} and {END}")
    head, rest = template.split(BEGIN)
    (out / "cuda.md").write_text(head + BEGIN + "\n\n" + "\n\n".join(text) + "\n\n" + END + rest.split(END)[1], "utf-8")
    (out / "cuda.json").write_text(json.dumps(
        {"machine": before, "machine_busy": busy, "stages": stages(raw), "marks": marks, "torch": torch,
         "counters": profiles}, indent=1) + "\n", "utf-8")
    try:
        if marks:
            plot(out / "cuda.png", marks, torch)
    except ImportError:
        print("there is no matplotlib here: cuda.png is left as it is")


if __name__ == "__main__":
    main()
