"""An evaluation's answer as a table for people."""

from typing import Any

from rich.table import Table


def as_table(answer: dict[str, Any]) -> Table:
    """Return the figures of an answer of ``evaluation``: a row a case, their means, those of other protocols."""
    names = list(answer["dice"])
    low, high = answer["mean_dice_95"]
    mean = f"mean Dice {answer['mean_dice']:.3f} [{low:.3f}, {high:.3f}]"
    table = Table(title=f"{answer['model']} on {answer['list']}: {mean}")
    for heading in ("case", *names, "HD95 voxels", "pieces", "holes"):
        table.add_column(heading)

    def add(heading: str, dice: dict[str, float], distances: dict[str, float], *counts: str) -> None:
        distance = sum(distances.values()) / len(distances)
        table.add_row(heading, *(f"{dice[name]:.3f}" for name in names), f"{distance:.2f}", *counts)

    for case in answer["cases"]:
        add(case["id"], case["dice"], case["hd95_vox"], str(case["components"]), str(case["holes"]))
    table.add_section()
    add("mean", answer["dice"], answer["hd95_vox"], f"{answer['components']:.2f}", f"{answer['holes']:.2f}")
    table.add_row("before the filter", *(f"{answer['dice_raw'][name]:.3f}" for name in names))
    for protocol, figures in answer.get("protocols", {}).items():
        add(f"protocol {protocol}", figures["dice"], figures["hd95_vox"])
    return table
