"""Draw the pictures of the README from a result of `tokenizer_speed.py`, as SVG into `docs/images/`.

python benches/python/plot_results.py benches/results/RESULT.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import machine
import matplotlib as mpl
import matplotlib.pyplot as plt
from peers import OURS
from speeds import LISTS_AND_ARRAYS, PHASES, Speeds, in_phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

IMAGES = machine.ROOT / "docs" / "images"
SHOWN = (OURS, "gigatoken", "fastokens", "quicktok", "tiktoken", "mistral-common")
COLOURS = {OURS: "#c2410c", "gigatoken": "#1d4ed8", "fastokens": "#0f766e", "quicktok": "#7c3aed"}
GREYS = ("#94a3b8", "#cbd5e1", "#64748b")


def bars(axes: Axes, speeds: Speeds, columns: list[str], value: Callable[[str, str], float | None]) -> None:
    """Draw a group of bars for each column, a bar for each peer that has a number in one of them."""
    peers = [peer for peer in SHOWN if peer in speeds.peers and any(value(peer, name) for name in columns)]
    width = 0.8 / max(len(peers), 1)
    greys = iter(GREYS)
    for index, peer in enumerate(peers):
        heights = [value(peer, name) or 0 for name in columns]
        places = [place + (index - (len(peers) - 1) / 2) * width for place in range(len(columns))]
        axes.bar(places, heights, width, label=peer, color=COLOURS.get(peer) or next(greys))
    axes.set_xticks(range(len(columns)), columns)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": len(SHOWN)}
    axes.legend(frameon=False, fontsize="small", **below)


def phase_plot(speeds: Speeds, rows: tuple[str, ...], title: str, phases: tuple[str, ...]) -> None:
    """Draw MB/s by text, a panel for each phase."""
    _, panels = plt.subplots(len(phases), 1, figsize=(9, 3.2 * len(phases)), squeeze=False)
    for axes, phase in zip(panels[:, 0], phases, strict=True):
        names = in_phase(rows, phase)
        bars(
            axes, speeds, speeds.texts, lambda peer, text, names=names: speeds.best_rate(names, peer, [text])
        )
        axes.set_title(f"{title}, {PHASES[phase]}")
        axes.set_ylabel("MB/s, one core")


def calls_plot(speeds: Speeds) -> None:
    """Draw the time of a call on 200 characters."""
    _, axes = plt.subplots(figsize=(9, 3.2))

    def time_of(peer: str, text: str) -> float | None:
        found = [speeds.call_time(row, peer, text) for row in LISTS_AND_ARRAYS]
        return min(filter(None, found), default=None)

    bars(axes, speeds, speeds.texts, time_of)
    axes.set_yscale("log")
    axes.set_title("Encode, a call on 200 characters")
    axes.set_ylabel("µs, less is better")


def threads_plot(speeds: Speeds) -> None:
    """Draw what two Python threads on one tokenizer gain over one."""
    _, axes = plt.subplots(figsize=(6, 3.2))
    calls = [
        row for row in ("count", "encode_array") if any(key[0] == f"threads/{row}" for key in speeds.records)
    ]
    bars(axes, speeds, calls, lambda peer, call: speeds.gain(f"threads/{call}", peer, "threads"))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_title("Two Python threads on one tokenizer")
    axes.set_ylabel("times one thread, 4 KB texts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--folder", type=Path, default=IMAGES)
    options = parser.parse_args()
    speeds = Speeds(json.loads(options.result.read_text(encoding="utf-8")))
    # The same result gives the same file, byte for byte.
    mpl.rcParams["svg.hashsalt"] = "nemo_fast"
    options.folder.mkdir(parents=True, exist_ok=True)
    plots = {
        "encode": lambda: phase_plot(speeds, LISTS_AND_ARRAYS, "Encode", ("cold", "warm")),
        "count": lambda: phase_plot(speeds, ("count", *LISTS_AND_ARRAYS), "Count", ("cold", "warm")),
        "calls": lambda: calls_plot(speeds),
        "threads": lambda: threads_plot(speeds),
    }
    for name, draw in plots.items():
        draw()
        path = options.folder / f"tokenizer-{name}.svg"
        plt.tight_layout()
        plt.savefig(path, metadata={"Date": None})
        plt.close()
        print(path)


if __name__ == "__main__":
    main()
