"""Pictures of a study, drawn without a display: its history, what mattered, and the front of two objectives."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from launch.common.picture import ACCENT, FRONT, GRID, INK, UNTOUCHED, panel_figure, plot_frame, to_png

if TYPE_CHECKING:
    from optuna import Study

COLOURS = {"COMPLETE": ACCENT, "PRUNED": FRONT, "RUNNING": GRID, "FAIL": UNTOUCHED}


def pictures(study: "Study", label: str, importances: Mapping[str, float]) -> tuple[dict[str, bytes], dict[str, str]]:
    """PNGs by file name, and the reasons why others are missing."""
    drawn, left_out = {}, {}
    trials = study.get_trials(deepcopy=False)
    several = len(study.directions) > 1
    if several:
        drawn["front.png"] = draw_front(study, label)
    elif any(trial.intermediate_values for trial in trials):
        drawn["history.png"] = draw_history(trials, label)
    else:
        left_out["history.png"] = "no trial has reached a rung yet"
    if importances:
        drawn["importance.png"] = draw_importances(importances)
    else:
        left_out["importance.png"] = "it needs two complete trials of different value"
    return drawn, left_out


def draw_history(trials, label: str) -> bytes:
    """Each trial's curve over its rungs, and the best complete value so far over the trials."""
    figure, (curves, history) = _figure(2, "history of the study")
    best, so_far = None, []
    for trial in trials:
        steps, colour = sorted(trial.intermediate_values), COLOURS.get(trial.state.name, GRID)
        if steps:
            values = [trial.intermediate_values[step] for step in steps]
            curves.plot(steps, values, marker="o", markersize=4, linewidth=1.4, color=colour, alpha=0.8)
            history.plot([trial.number], [values[-1]], "o", markersize=6, color=colour)
        if trial.state.name == "COMPLETE":
            best = trial.value if best is None else max(best, trial.value)
        if best is not None:
            so_far.append((trial.number, best))
    if so_far:
        history.step(*zip(*so_far, strict=True), where="post", color=INK, linewidth=1.2, label="best so far")
    for state, colour in COLOURS.items():
        if count := sum(trial.state.name == state for trial in trials):
            history.plot([], [], "o", color=colour, label=f"{state.lower()} ({count})")
    history.legend(frameon=False, fontsize=8, labelcolor=INK)
    _label(curves, "training step", label)
    _label(history, "trial", "objective at the last rung reached")
    return to_png(figure)


def draw_importances(importances: Mapping[str, float]) -> bytes:
    """One bar a setting."""
    figure, (axes,) = _figure(1, "what mattered")
    names = sorted(importances, key=importances.get)
    axes.barh(names, [importances[name] for name in names], color=ACCENT)
    _label(axes, "PED-ANOVA importance for the best complete trials", "")
    return to_png(figure)


def draw_front(study: "Study", label: str) -> bytes:
    """The first two objectives of all complete trials, those on the front in the accent colour."""
    figure, (axes,) = _figure(1, "front of the study")
    on_front = {trial.number for trial in study.best_trials}
    for trial in study.get_trials(deepcopy=False):
        if trial.values:
            colour = ACCENT if trial.number in on_front else FRONT
            axes.plot(*[[value] for value in trial.values[:2]], "o", color=colour, markersize=6)
            axes.annotate(str(trial.number), trial.values[:2], xytext=(5, 4), textcoords="offset points", fontsize=8)
    across, up = label.split(" and ")[:2]
    _label(axes, across, up)
    return to_png(figure)


def _figure(panels: int, title: str):
    return panel_figure(panels, title, (2.2 + 4.2 * panels, 4.0))


def _label(axes, across: str, up: str) -> None:
    plot_frame(axes, across, up, 8 if len(up) > 40 else 9, tick_size=8.5)
