"""How good the models are beside named rivals, at equal CPU seconds of one thread on the same split.

    .venv/bin/python -m benchmarks.quality --list
    .venv/bin/python -m benchmarks.quality --only mixture-shakespeare-200000,digits-60s
    .venv/bin/python -m benchmarks.quality --resume --write-docs
    .venv/bin/python -m benchmarks.quality --text my.txt

Everything together takes about 7 hours of CPU with three seeds. The figures of each training are kept in
benchmarks/quality/results, so that --resume goes on where a run stopped, on another machine too. Ends with 1 when a
bound is missed that was measured. Recipes are tuned with --part validation; the test part is for reporting.
"""

import argparse
import hashlib
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.quality import report
from benchmarks.quality.contest import Entry, Place, fingerprint, run
from benchmarks.quality.ours import BaseDoesNotFitError
from benchmarks.quality.rows import PICTURE_ROWS, ROWS, TEXT_ROWS, USER_ROWS, Row

ROOT = Path(__file__).resolve().parents[2]
STORE, RESULTS = ROOT / "build" / "quality", Path(__file__).parent / "results"
QUICK_TEXT = "shakespeare-12000"  # stands in for every text in a smoke test
QUICK_MINUTES = 0.02


def chosen(only: str | None, user_text: bool) -> list[Row]:
    """The rows asked for, by their names or the beginnings of them. Raises ValueError for one that is none."""
    rows = {row.name: row for row in USER_ROWS} if user_text else ROWS
    if only is None:
        return list(rows.values())
    wanted = only.split(",")
    unknown = [name for name in wanted if not any(row.startswith(name) for row in rows)]
    if unknown:
        raise ValueError(f"no row {', '.join(unknown)}; there are {', '.join(rows)}")
    return [row for name, row in rows.items() if any(name.startswith(begin) for begin in wanted)]


def quick(row: Row) -> Row:
    """The same on little data for a few seconds, which shows that it works and nothing else."""

    def small(entry: Entry) -> Entry:
        task = QUICK_TEXT if entry.is_text else entry.task
        return replace(entry, task=task, minutes=min(entry.minutes, QUICK_MINUTES))

    return replace(row, entries=tuple(map(small, row.entries)), bound=None)


def print_list(rows: list[Row]) -> None:
    for row in rows:
        bound = "reported" if row.bound is None else f"{'at least' if row.at_least else 'at most'} {row.bound:g}"
        minutes = sum(entry.minutes for entry in row.entries)
        print(f"{row.name:40}{row.says}: {bound} ({minutes:g} CPU minutes a seed)")


def measure(rows: list[Row], place: Place, seeds: int, resume: bool) -> None:
    """Run all entries that the rows need, one seed of everything before the next."""
    for seed in range(seeds):
        for entry in report.entries_of(rows):
            kept = place.read(entry, seed) if resume else None
            if (not entry.seeded and seed) or (kept is not None and kept.data == fingerprint(entry.task, place)):
                continue
            begun, used = time.monotonic(), time.process_time()
            try:
                run(entry, seed, place)
            except BaseDoesNotFitError as error:
                print(f"{entry.file_name(seed)}: {error}", file=sys.stderr, flush=True)
                continue
            wall, cpu = time.monotonic() - begun, time.process_time() - used
            print(f"{entry.file_name(seed)}: {cpu:.0f} CPU s in all, {wall:.0f} s", file=sys.stderr, flush=True)


def write_docs(place: Place, seeds: int) -> None:
    """Fill docs/quality.md with whatever results there are."""
    page, numbers = ROOT / "docs" / "quality.md", list(range(seeds))
    for marker, rows, names in (
        ("text", TEXT_ROWS, report.TEXT_FIGURES),
        ("pictures", PICTURE_ROWS, report.PICTURE_FIGURES),
    ):
        report.put_between(page, marker, report.table(report.outcomes(rows, place, numbers)))
        figures = report.figures_table(report.entries_of(rows), names, place, numbers)
        report.put_between(page, f"{marker}-figures", figures)
        drawn = report.draw_curves(rows, place, numbers, page.parent)
        report.put_between(page, f"{marker}-curves", report.links(drawn))
    report.put_between(page, "sentences", report.sentences(report.entries_of(TEXT_ROWS), place))
    report.put_between(page, "pictures-grids", report.copy_grids(report.entries_of(PICTURE_ROWS), place, page.parent))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the rows and their bounds")
    parser.add_argument("--only", metavar="ROW[,ROW]", help="these rows alone; the beginning of a name is enough")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
    parser.add_argument("--quick", action="store_true", help="a few seconds of everything: only shows that it works")
    parser.add_argument("--resume", action="store_true", help="keep results that are there already")
    parser.add_argument("--report", action="store_true", help="train nothing: judge the results there are")
    parser.add_argument("--write-docs", action="store_true", help="fill docs/quality.md with the results there are")
    parser.add_argument(
        "--text",
        type=Path,
        help="measure on this text instead, UTF-8, one paragraph a line: from nothing and, as the product does "
        "by itself where it fits, from the shipped starter",
    )
    parser.add_argument("--part", choices=("test", "validation"), default="test", help="what is measured on")
    parser.add_argument("--folder", type=Path, default=STORE, help="where all but the figures is kept")
    options = parser.parse_args()
    try:
        rows = chosen(options.only, options.text is not None)
    except ValueError as error:
        parser.error(str(error))
    if options.text is not None and not options.text.is_file():
        parser.error(f"there is no file {options.text}")
    if options.list:
        print_list(rows)
        return 0
    folder, seeds = options.folder, options.seeds
    if options.quick:
        rows, folder, seeds = list(map(quick, rows)), folder / "quick", 1
    if options.text is not None:
        content = hashlib.sha256(options.text.read_bytes()).hexdigest()[:8]
        folder = folder / f"text-{options.text.stem}-{content}"
    kept = RESULTS if folder == STORE and options.part == "test" else None
    place = Place(folder, options.part, options.text, kept)
    torch.set_num_threads(1)
    if not options.report:
        measure(rows, place, seeds, options.resume)
    found = report.outcomes(rows, place, range(seeds))
    print(report.table(found))
    if options.write_docs and not options.quick and options.text is None:
        write_docs(place, seeds)
    return 1 if any(outcome.verdict == "FAIL" for outcome in found) else 0


if __name__ == "__main__":
    sys.exit(main())
