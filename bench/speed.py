"""How fast it is, as ratios in one run: the tables and the plot of docs/benchmarks/speed.md.

    python bench/speed.py [--data DATA] [--only networks whole ...] [--quick]
    python bench/speed.py --data DATA --nnunet-python PATH --before CHECKOUT --figures FILE \\
        --write docs/benchmarks/speed.md

What is compared takes turns within one run, so that other work on the machine falls on both; a ratio is the
median over the rounds, with the least and the most. Only sections that were asked for are measured. With
--figures the others are taken from that file, which is then updated, so that sections can be measured one at
a time. --write puts all of them between the markers of a document, and the plot into images/speed.png beside
it. --quick shows in minutes that everything runs; its figures mean nothing and are written nowhere.

    --nnunet-python   a Python in which nnunetv2 is installed; it needs nothing of this package
    --before          a checkout of an earlier commit, for `segment` and `evaluate`
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from speed_rows.measure import Settings
from speed_rows.section import Section, replace_between_markers

# module and function of each section, in the order of the document
SECTIONS = {
    "networks": ("networks", "measure"),
    "whole": ("whole", "measure"),
    "volume": ("volume", "measure"),
    "batch": ("many", "measure"),
    "cold": ("commands", "measure_cold"),
    "evaluate": ("commands", "measure_evaluate"),
    "window": ("window", "measure"),
    "gpu": ("gpu", "measure"),
    "scaling": ("scaling", "measure"),
}
HEADING = """## Speed

Measured by `bench/speed.py`, which takes turns between what it compares. A ratio is the median over the
rounds; in parentheses the least and the most."""


def machine(settings: Settings, load: float) -> str:
    """On what a section was measured, and how busy it was."""
    import torch

    return (
        f"{settings.threads} of {os.cpu_count()} cores, torch {torch.__version__}, {settings.repeats} rounds;"
        f" load of the machine when this began: {load:.1f}."
    )


def measure(name: str, settings: Settings) -> Section:
    """Measure a section, in this process."""
    import torch

    torch.set_num_threads(settings.threads)
    load = os.getloadavg()[0]
    module, function = SECTIONS[name]
    call: Callable[[Settings], Section] = getattr(import_module(f"speed_rows.{module}"), function)
    section = call(settings)
    return Section.from_json(section.to_json() | {"machine": machine(settings, load)})


def document(sections: dict[str, Section]) -> str:
    """The text of all sections, in their order."""
    return "\n\n".join([HEADING, *(sections[n].markdown().strip() for n in SECTIONS if n in sections)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="the folder with the data sets"
    )
    parser.add_argument("--only", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="small and few: to see that it runs")
    parser.add_argument("--repeats", type=int, help="rounds, 5 where not given")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--nnunet-python", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--figures", type=Path, help="a JSON file to keep the figures in")
    parser.add_argument("--write", type=Path, help="the document whose section is updated")
    options = parser.parse_args()
    if options.quick and (options.write or options.figures):
        parser.error("the figures of --quick mean nothing: leave out --write and --figures")
    if options.write and not options.figures and options.only != list(SECTIONS):
        parser.error("--write needs --figures, which holds the sections that are not measured now")
    settings = Settings(
        data=options.data.resolve(),
        repeats=options.repeats or (1 if options.quick else 5),
        quick=options.quick,
        threads=options.threads,
        nnunet_python=options.nnunet_python and options.nnunet_python.absolute(),
        before=options.before and options.before.resolve(),
    )
    sections: dict[str, Section] = {}
    if options.figures is not None and options.figures.exists():
        kept = json.loads(options.figures.read_text("utf-8"))
        sections = {name: Section.from_json(values) for name, values in kept.items()}
    for name in options.only:
        begin = time.perf_counter()
        sections[name] = measure(name, settings)
        print(f"{sections[name].markdown()}\n({time.perf_counter() - begin:.0f} s)\n", flush=True)
        if options.figures is not None:
            values = {n: section.to_json() for n, section in sections.items()}
            options.figures.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    if options.write is not None:
        from speed_rows.plot import write_plot

        text = options.write.read_text("utf-8")
        options.write.write_text(replace_between_markers(text, document(sections)), "utf-8")
        if "scaling" in sections:
            write_plot(sections["scaling"].points, options.write.parent / "images" / "speed.png")
    missed = [row.what for name in options.only for row in sections[name].rows if row.is_reached is False]
    if missed:
        sys.exit(f"not reached: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
