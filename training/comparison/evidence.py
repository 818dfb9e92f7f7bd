"""From rows of results to a page that people read: tables, paired differences, and a picture."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from contracts.scores import Interval, bootstrap_mean
from training.comparison.plan import Plan, Row

PLOT_DPI = 110
HEADINGS = (
    "row", "iterations", "seeds", "Dice", "raw", "by structure", "HD95, voxels", "islands", "holes",
    "points above the control [95 %]", "CPU h",
)  # fmt: skip


def write_page(plan: Plan, results: list[Row], name: str, path: Path) -> None:
    """Write the page of a plan beside its JSON, with a picture where there is something to draw.

    ``name`` is the plan's, for the command that makes the page again. Only rows that the plan still names are shown.
    """
    sections = [
        f"# {plan.title}",
        f"**Research use only.** Made by `python -m training compare {name}`; [{name}.json]({name}.json) holds every "
        "run. Dice is the mean over structures and volumes of the averaged weights after the last iteration, through "
        "the serving path; `raw` is before its component filter. Lengths were fixed beforehand.",
    ]
    shown = [row for row in results if row["row"] in {planned.name for planned in plan.row}]
    for listed in plan.lists:
        for labelled in plan.labelled:
            rows = [r for r in shown if r["list"] == listed and r[plan.amount] == float(labelled)]
            if rows:
                sections.append(f"## {listed}, {labelled} labelled\n\n{_table(plan, rows)}")
    lacking = len(plan.seeds) * len(plan.labelled) * len(plan.row) - len({row["key"] for row in shown})
    if lacking > 0:
        sections.append(f"{lacking} runs of the plan are not there yet; `--plan` lists them.")
    if shown:
        draw(plan, shown, path.with_suffix(".png"))
        sections.insert(2, f"![Dice of each row]({path.with_suffix('.png').name})")
    path.write_text("\n\n".join(sections) + "\n", "utf-8")


def difference(rows: Iterable[Row], control: Iterable[Row]) -> Interval | None:
    """Return the mean paired difference of Dice between two rows of a table, with its interval over patients.

    Runs are paired by seed and cases by name; a case's difference is the mean over the seeds that both rows have. None
    where they share no seed.
    """
    ours, theirs = ({row["stage1_seed"]: row["cases"] for row in side} for side in (rows, control))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    cases = sorted(ours[seeds[0]])
    each = [float(np.mean([ours[seed][case] - theirs[seed][case] for seed in seeds])) for case in cases]
    return bootstrap_mean(each, [case.rsplit("_frame", 1)[0] for case in cases])


def _table(plan: Plan, rows: list[Row]) -> str:
    control = [row for row in rows if row["row"] == plan.control]
    lines = [
        f"| {' | '.join(HEADINGS)} |",
        "|---" * len(HEADINGS) + "|",
    ]
    for planned in plan.row:
        mine = [row for row in rows if row["row"] == planned.name]
        if mine:
            lines.append(_line(planned.name, mine, control, planned.name == plan.control))
    return "\n".join(lines)


def _line(name: str, mine: list[Row], control: list[Row], is_control: bool) -> str:
    against = None if is_control else difference(mine, control)
    points = "" if against is None else f"{_points(against.mean)} [{_points(against.low)}, {_points(against.high)}]"
    classes = " / ".join(
        f"{np.mean([row['dice_by_class'][label] for row in mine]):.3f}" for label in mine[0]["dice_by_class"]
    )
    cells = [
        name,
        str(mine[0]["iterations"]),
        ", ".join(str(row["stage1_seed"]) for row in mine),
        f"**{_mean(mine, 'dice'):.3f}**{_range(mine)}",
        f"{_mean(mine, 'dice_raw'):.3f}",
        classes,
        f"{_mean(mine, 'hd95_vox'):.1f}",
        f"{_mean(mine, 'components'):.1f}",
        f"{_mean(mine, 'holes'):.1f}",
        points,
        f"{_mean(mine, 'cpu_hours'):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def draw(plan: Plan, rows: list[Row], path: Path) -> None:
    """Draw a dot for every run, by row and number of labelled cases, one panel a list."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = [planned.name for planned in plan.row if any(row["row"] == planned.name for row in rows)]
    figure, panels = plt.subplots(
        1, len(plan.lists), figsize=(5 * len(plan.lists), 0.45 * len(names) + 1.6), squeeze=False
    )
    for panel, listed in zip(panels[0], plan.lists, strict=True):
        for marker, labelled in zip("osD^v", plan.labelled, strict=False):
            chosen = [r for r in rows if r["list"] == listed and r[plan.amount] == float(labelled)]
            places = [names.index(row["row"]) for row in chosen]
            panel.plot([row["dice"] for row in chosen], places, marker, label=f"{labelled} labelled", alpha=0.7)
        panel.set_yticks(range(len(names)), names)
        panel.invert_yaxis()
        panel.set_xlabel("mean Dice")
        panel.set_title(listed)
        panel.grid(axis="x", alpha=0.3)
    panels[0][0].legend(loc="best", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=PLOT_DPI, metadata={"Software": None})
    plt.close(figure)


def _mean(rows: list[Row], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _range(rows: list[Row]) -> str:
    values = [row["dice"] for row in rows]
    return f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
