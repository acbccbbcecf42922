"""Say what is installed, what this machine has, what is cached, and what is missing.

The lines come in the order of what they cost; PyTorch, which takes seconds to import, comes last.
"""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DESCRIPTION = (
    "Look at the environment without changing it: versions of the packages that are needed, "
    "memory, GPU, and what is in the caches. For anything missing, name the command that installs "
    "or downloads it. Exit code 0: the notebooks can run; 1: something that they need is missing."
)
ROOM = 1.5  # GB that a notebook may take
NEEDED, OPTIONAL = "MISSING", "absent"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu check``."""
    parser.add_argument(
        "--load",
        action="store_true",
        help="also load both embedded rankers and score a passage (half a minute)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the report of ``mechir-edu check``; 0 the notebooks can run, 1 something is missing."""
    print(f"MechIR-Edu {metadata.version('mechir-edu')}, Python {platform.python_version()}")
    print("\nPackages")
    missing = _print(packages())
    print("\nMachine")
    _print(machine())
    if not missing:
        print("\nData")
        missing = _print(data())
        print("\nGPU")
        _print(gpu())
    if args.load and not missing:
        print("\nRankers")
        missing = _print(rankers())
    lacking = "Something that the notebooks need is missing; see above."
    print(f"\n{lacking}" if missing else "\nThe notebooks can run here.")
    return 1 if missing else 0


def packages() -> Iterator[tuple[str, str]]:
    """Give (state, sentence) for each required package; those of the notebooks come last."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        everything = 'pip install "mechir-edu[offline,tutorials]"'
        yield NEEDED, f"the packages that are needed are not installed; {everything}"
        return
    stated = [Requirement(line) for line in metadata.requires("mechir-edu") or ()]
    for extra, otherwise in (("", NEEDED), ("offline", NEEDED), ("tutorials", OPTIONAL)):
        for requirement in stated:
            marker = requirement.marker
            if marker.evaluate({"extra": extra}) if marker else not extra:
                # Without the panels' package a cell fails; any Jupyter will do, such as Colab's.
                yield _package(
                    requirement, NEEDED if requirement.name == "ipywidgets" else otherwise
                )


def _package(requirement: "Requirement", otherwise: str) -> tuple[str, str]:
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return otherwise, f'{wanted}: not installed; pip install "{wanted}"'
    if requirement.specifier.contains(version, prereleases=True):
        return "ok", f"{requirement.name} {version}"
    return otherwise, f'{wanted}: {version} is installed; pip install "{wanted}"'


def machine() -> Iterator[tuple[str, str]]:
    """Give (state, sentence) on processor, memory and disk."""
    yield "ok", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    if (free := free_memory()) is None:
        yield "note", "this system does not say how much memory is free"
    else:
        enough = "ok" if free >= ROOM else "note"
        advice = "" if free >= ROOM else f"; a notebook may take {ROOM} GB, so close other programs"
        yield enough, f"{free:.1f} GB of memory free{advice}"
    yield "ok", f"{shutil.disk_usage(Path.home()).free / 1e9:.0f} GB free on the home folder's disk"
    yield "ok", f"Python's packages are in {sys.prefix}"
    yield threads()


def threads() -> tuple[str, str]:
    """Give (state, sentence) on how PyTorch's threads wait for each other."""
    policy = os.environ.get("OMP_WAIT_POLICY")  # the package sets it when it comes before PyTorch
    advice = "where other programs use the processors too, computing may take many times longer"
    if policy is None:
        return "note", (
            "PyTorch was imported before mechir_edu, so its threads do not sleep while they wait; "
            f"{advice}. Import mechir_edu first, or set OMP_WAIT_POLICY=passive"
        )
    if policy.lower() != "passive":
        return "note", f"OMP_WAIT_POLICY={policy} is set; {advice} than with passive"
    return "ok", "OMP_WAIT_POLICY=passive: threads sleep while they wait for each other"


def free_memory() -> float | None:
    """Memory that a process could still take, in GB (10^9 bytes); None if it is not known.

    In a container, such as on Binder, the container's limit counts, not the machine's memory.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(s.split()[1]) for s in lines if s.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    limit, used = _number("memory.max"), _number("memory.current")
    if limit is not None and used is not None:
        free = min(free, limit - used)
    return free / 1e9


def _number(name: str) -> int | None:
    """Read a number of the container's control group; None outside of a container."""
    try:
        return int((Path("/sys/fs/cgroup") / name).read_text())
    except (OSError, ValueError):  # "max" means no limit
        return None


def data() -> Iterator[tuple[str, str]]:
    """Give (state, sentence) on what is embedded and what is in the caches."""
    from mechir_edu.cli.offline.caches import (
        cached_collections,
        cached_models,
        folders,
        is_offline,
    )
    from mechir_edu.collection import mini

    assets = mini.FOLDER.parent / "cross_encoder.safetensors"
    for name, there in (
        ("embedded collection", mini.DOCS.exists()),
        ("embedded cross-encoder", assets.exists()),
    ):
        advice = "it belongs to the package; pip install --force-reinstall --no-deps mechir-edu"
        yield ("ok", name) if there else (NEEDED, f"{name}: {advice}")
    where = folders()
    cached = [*cached_models(where["hub"]), *cached_collections(where["ir_datasets"])]
    for item in cached:
        yield "ok", f"{item.kind} {item.name}, {item.size() / 1e6:,.0f} MB"
    for kind, folder in (("model", where["hub"]), ("collection", where["ir_datasets"])):
        if not any(item.kind == kind for item in cached):
            advice = f"the notebooks need none. To download one: mechir-edu prefetch --{kind}s ID"
            yield OPTIONAL, f"no {kind} in {folder}; {advice}"
    if is_offline():
        yield "note", "HF_HUB_OFFLINE is set: no model will be downloaded"


def gpu() -> Iterator[tuple[str, str]]:
    """Give (state, sentence) on the GPU, as PyTorch sees it."""
    import torch

    if not torch.cuda.is_available():
        yield "note", "none that PyTorch can use; a CPU is enough"
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        yield "ok", f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB"


def rankers() -> Iterator[tuple[str, str]]:
    """Load both embedded rankers, which verifies them, and score a passage with each."""
    import mechir_edu

    for load in (mechir_edu.Dot, mechir_edu.Cat):
        try:
            score = load("embedded").score("coral bleaching", ["Warm seas harm corals."])[0]
            yield "ok", f'{load.__name__}("embedded") gives a passage {score:.2f}'
        except (ImportError, OSError, ValueError) as error:
            yield NEEDED, f'{load.__name__}("embedded"): {error}'


def _print(lines: Iterator[tuple[str, str]]) -> bool:
    """Print each line as soon as it is known; returns whether something needed is missing."""
    missing = False
    for state, sentence in lines:
        print(f"  {state:8}{sentence}", flush=True)
        missing |= state == NEEDED
    return missing
