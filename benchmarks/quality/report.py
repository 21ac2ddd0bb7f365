"""Results as tables, curves and docs/quality.md. Must not know: how anything was trained."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.quality.contest import Entry, Place, Result
from benchmarks.quality.rows import Outcome, Row, judge
from ml import files

TEXT_FIGURES = (
    "word_perplexity",
    "perplexity",
    "lstm_word_perplexity",
    "lstm_perplexity",
    "cache_word_perplexity",
    "same_cache_word_perplexity",
    "product_word_perplexity",
    "top1",
    "top3",
    "keystroke_savings",
    "lstm_keystroke_savings",
)
PICTURE_FIGURES = (
    "classifier_distance",
    "random_distance",
    "precision",
    "recall",
    "coverage",
    "near_copies",
    "least_share",
    "floor_classifier_distance",
    "floor_random_distance",
)


def outcomes(rows: Iterable[Row], place: Place, seeds: Iterable[int]) -> list[Outcome]:
    """Every row judged by what results there are: by the seeds for which all its entries have one."""
    found = []
    for row in rows:
        figures = {}
        for seed in seeds:
            results = [result for entry in row.entries if (result := place.read(entry, seed)) is not None]
            # Of another split or vocabulary, figures cannot be compared: the entry has to be run again.
            if len(results) == len(row.entries) and len({result.data for result in results}) == 1:
                figures[seed] = [result.figures for result in results]
        found.append(judge(row, figures))
    return found


def table(found: Sequence[Outcome]) -> str:
    """As Markdown, which is also how it is printed."""
    lines = ["| | asked | measured | range | seeds | |", "|---|---|---|---|---|---|"]
    for outcome in found:
        row = outcome.row
        bound = "-" if row.bound is None else f"{'≥' if row.at_least else '≤'} {row.bound:g}"
        if outcome.values:
            values, digits = sorted(outcome.values.values()), row.digits
            spread = f"{values[0]:.{digits}f} to {values[-1]:.{digits}f}"
            cells = [bound, f"{outcome.judged:.{digits}f}", spread if len(values) > 1 else "-", str(len(values))]
        else:
            cells = [bound, "-", "-", "0"]
        lines.append(f"| {row.says} | {' | '.join(cells)} | {outcome.verdict} |")
    return "\n".join(lines)


def figures_table(entries: Iterable[Entry], names: Sequence[str], place: Place, seeds: Sequence[int]) -> str:
    """The figures themselves, medians over the seeds there are."""
    rows: list[tuple[Entry, int, dict[str, float]]] = []
    used: set[str] = set()
    for entry in entries:
        results = [place.read(entry, seed) for seed in (seeds if entry.seeded else [0])]
        told = [result.figures for result in results if result is not None]
        if told:
            medians = {name: median(f[name] for f in told) for name in names if all(name in f for f in told)}
            rows.append((entry, len(told), medians))
            used |= medians.keys()
    columns = [name for name in names if name in used]
    head = [f"| task | contestant | CPU min | seeds | {' | '.join(name.replace('_', ' ') for name in columns)} |"]
    head.append("|" + "---|" * (4 + len(columns)))
    return "\n".join(
        head
        + [
            f"| {entry.task} | {entry.contestant} | {entry.minutes:g} | {count} | "
            + " | ".join(_number(medians[name]) if name in medians else "" for name in columns)
            + " |"
            for entry, count, medians in rows
        ]
    )


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def entries_of(rows: Iterable[Row]) -> list[Entry]:
    """Each once, in their order."""
    return list(dict.fromkeys(entry for row in rows for entry in row.entries))


def draw_curves(rows: Sequence[Row], place: Place, seeds: Sequence[int], into: Path) -> list[Path]:
    """Quality against CPU minutes on the validation part, one chart for each task; needs the extra `benchmarks`."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    drawn = []
    for task in dict.fromkeys(entry.task for entry in entries_of(rows)):
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        names = set()
        for number, entry in enumerate(e for e in entries_of(rows) if e.task == task):
            for seed in seeds if entry.seeded else [0]:
                result = place.read(entry, seed)
                names |= _lines(axes, result, f"C{number}") if result is not None else set()
        if names:
            axes.set(xlabel="CPU minutes", ylabel=f"{' / '.join(sorted(names))}, validation", title=task)
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
            axes.yaxis.set_minor_locator(mpl.ticker.LogLocator(subs=(2, 3, 5)))
            axes.yaxis.set_minor_formatter(mpl.ticker.FormatStrFormatter("%g"))
            axes.grid(alpha=0.3, which="both")
            handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
            axes.legend(handles.values(), handles.keys(), fontsize="small")
            path = into / f"quality-{re.sub('[^a-z0-9]+', '-', task)}.png"
            files.write_with(path, lambda temporary, figure=figure: figure.savefig(temporary, dpi=110))  # type: ignore[misc]
            drawn.append(path)
        plt.close(figure)
    return drawn


STYLES = {"perplexity": "-", "lstm_perplexity": "--", "random_distance": "-"}


def _lines(axes, result: Result, colour: str) -> set[str]:  # type: ignore[no-untyped-def]
    """Draw one result's curves; the names of what they show."""
    entry, names = result.entry, set()
    for name, style in STYLES.items():
        points = [(at, value) for at, value in result.curves.get(name, []) if math.isfinite(value)]
        if points:
            part = ", LSTM alone" if name == "lstm_perplexity" else ""
            minutes = f" {entry.minutes:g} min" if entry.minutes else ""
            if len(points) == 1:  # what needs no training is there from the start
                axes.axhline(points[0][1], linestyle=":", color=colour, label=entry.contestant)
            else:
                axes.plot(*zip(*points, strict=True), style, color=colour, label=f"{entry.contestant}{minutes}{part}")
            names.add(name.removeprefix("lstm_").replace("_", " "))
    return names


def links(pictures: Iterable[Path]) -> str:
    """Markdown that shows them, from a page in the same folder."""
    return "\n".join(f"![{path.stem}]({path.name})" for path in pictures)


def sentences(entries: Iterable[Entry], place: Place) -> str:
    """What ours says, seed 0."""
    found = [(entry, place.read(entry, 0)) for entry in entries]
    return "\n\n".join(
        f"{entry.task}, {entry.minutes:g} CPU minutes:\n\n" + "\n".join(f"- {said}" for said in result.sentences)
        for entry, result in found
        if result is not None and result.sentences
    )


def copy_grids(entries: Iterable[Entry], place: Place, into: Path) -> str:
    """Copy the grids of seed 0 into `into`, and show them by contestant; those of other machines stay."""
    shown = []
    for entry in entries:
        grid = place.path(entry, 0, "png")
        path = into / f"quality-{re.sub('[^a-z0-9]+', '-', entry.file_name(0).removesuffix('_seed0'))}.png"
        if grid.exists():
            files.write_bytes(path, grid.read_bytes())
        if grid.exists() or (path.exists() and place.read(entry, 0) is not None):
            shown.append(f"{entry.task}, {entry.contestant}, {entry.minutes:g} CPU minutes:\n\n{links([path])}")
    return "\n\n".join(shown)


def put_between(path: Path, marker: str, text: str) -> None:
    """Replace what stands between `<!-- marker:begin -->` and `<!-- marker:end -->` in the file at `path`."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    whole = path.read_text(encoding="utf-8")
    if begin not in whole or end not in whole:
        raise ValueError(f"{path.name} has no {begin} … {end}; put both lines where the table belongs")
    before, rest = whole.split(begin, 1)
    files.write_bytes(path, f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}".encode())
