#!/usr/bin/env python3
"""Plots how far drawn digits are from real ones over what a digit costs, for models/README.md.

    build/release/bin/denoise-eval --data data --sampler ddim --steps 5,10,20,50 --seeds 3
    scripts/plot_distance.py --add "mnist.pt, DDIM" eval/*/seeds.json
    scripts/plot_distance.py

The first keeps figures of denoise-eval in docs/benchmarks/distance.json, in the place of those of the same line and
steps; the second draws all that are there, and what others have published, as models/distance.png. Distances of
different judges cannot be compared; what is plotted is their ratio to the floor, that of real digits by the same judge.
It needs matplotlib.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs/benchmarks/distance.json"
PLOT = ROOT / "models/distance.png"


def load(path: pathlib.Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        sys.exit(f"cannot read {path}: {error}")


def point_of(line: str, path: pathlib.Path, gflop_a_call: float) -> dict:
    """What the plot takes of a seeds.json: guidance that is asked for doubles the network calls of a step."""
    run = load(path)
    try:
        ratio, steps, seeds = run["figures"]["times_floor"], run["steps"], run["seeds"]
        calls = steps * (2 if run["guidance_scale"] != 1 else 1)
        return {"line": line, "steps": steps, "gflop": round(calls * gflop_a_call, 3),
                "times_floor": round(ratio["mean"], 3), "standard_deviation": round(ratio["standard_deviation"], 3),
                "seeds": len(seeds), "images": run["count"], "reference": run["reference"],
                "checkpoint_sha256": run["checkpoint_sha256"]}
    except (KeyError, TypeError):
        sys.exit(f"{path} is no seeds.json of denoise-eval; denoise-eval --seeds 3 writes one")


def add(figures: dict, points: list[dict]) -> None:
    def key(point: dict) -> tuple:
        return point["line"], point["steps"]

    new = {key(point) for point in points}
    kept = [point for point in figures["ours"] if key(point) not in new]
    figures["ours"] = sorted(kept + points, key=key)


def plot(figures: dict, path: pathlib.Path) -> None:
    try:
        import matplotlib
    except ImportError as error:
        sys.exit(f"{error}. Install matplotlib: python3-matplotlib of Debian, or from PyPI.")
    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8, 4.8), dpi=150)
    for line in dict.fromkeys(point["line"] for point in figures["ours"]):
        points = sorted((p for p in figures["ours"] if p["line"] == line), key=lambda p: p["gflop"])
        axes.errorbar([p["gflop"] for p in points], [p["times_floor"] for p in points],
                      yerr=[p["standard_deviation"] for p in points], marker="o", markersize=4, capsize=2, label=line)
    for other in figures["others"]:
        axes.plot(other["gflop"], other["distance"] / other["floor"], marker="s", markersize=5, linestyle="",
                  color="grey")
        axes.annotate(other["name"], (other["gflop"], other["distance"] / other["floor"]), xytext=(-7, -3),
                      textcoords="offset points", ha="right", fontsize=8, color="dimgrey")
    axes.axhline(1, color="black", linewidth=1, linestyle="--")
    axes.text(0.01, 1.03, "real digits", transform=axes.get_yaxis_transform(), fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="GFLOP a digit", ylabel="Fréchet distance, times the floor")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=20))
        axis.set_minor_locator(ticker.NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.93))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--add", metavar="LINE", help="keep the figures of SEEDS_JSON as points of this line")
    parser.add_argument("--gflop_a_call", type=float, default=0.0899, help="of the network [0.0899, the compact one's]")
    parser.add_argument("--figures", type=pathlib.Path, default=FIGURES)
    parser.add_argument("--out", type=pathlib.Path, default=PLOT)
    parser.add_argument("files", metavar="SEEDS_JSON", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    if (arguments.add is None) != (not arguments.files):
        parser.error("--add LINE and the files of its points belong together")
    figures = load(arguments.figures)
    if arguments.add is None:
        return plot(figures, arguments.out)
    add(figures, [point_of(arguments.add, path, arguments.gflop_a_call) for path in arguments.files])
    arguments.figures.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
