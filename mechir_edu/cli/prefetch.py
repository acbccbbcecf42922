"""Fetch models and collections before they are needed; bundle them, install a bundle."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mechir_edu.cli.offline.bundle import write_bundle
from mechir_edu.cli.offline.caches import folders, kept_collections, kept_models, kept_statistics
from mechir_edu.cli.offline.unbundle import install
from mechir_edu.collection import mini
from mechir_edu.files import sha256

EMBEDDED = ("embedded", mini.ID)


def run(args: argparse.Namespace) -> int:
    """Do what ``mechir-edu prefetch`` is asked for; 0 done, 1 something could not be had."""
    if args.source:
        return _install(args)
    asked = args.models is not None or args.collections is not None
    models = args.models or ([] if asked else ["embedded"])
    collections = args.collections or ([] if asked else ["embedded"])
    fetched = [_attempt(fetch_model, model, "model") for model in models]
    got = [_attempt(fetch_collection, name, "collection") for name in collections]
    if not all(fetched + got):
        bundle = " No bundle was written." if args.bundle else ""
        print(f"Some of it could not be had; what was fetched stays.{bundle}", file=sys.stderr)
        return 1
    if args.bundle:
        # Both lists are in the order of what was asked for.
        _bundle(args.bundle, [folder for folder in fetched if folder], collections)
    return 0


def _attempt(fetch: Callable[[str], Path], name: str, kind: str) -> Path | None:
    """Fetch one thing and say what came of it; the others shall be fetched all the same."""
    print(f"{kind} {name}", flush=True)
    try:
        return fetch(name)
    except (OSError, ImportError, ValueError) as error:
        print(f"  could not be had: {error}", file=sys.stderr)
        return None


def fetch_model(name: str) -> Path:
    """Fetch a model, print its files' sizes and SHA-256, and give its folder.

    Raises
    ------
    OSError, ImportError, ValueError
        As `mechir_edu.rankers.loading.model_folder`.
    """
    from mechir_edu.rankers import loading  # with torch, which installing a bundle does not need

    folder = loading.model_folder(name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if name == "embedded":
        from mechir_edu.rankers import embedded as crossencoder

        loading.check_sha256(crossencoder.ADAPTER, crossencoder.SHA256)
        files = [folder / "model.safetensors", crossencoder.ADAPTER]
    if folder.parent.name == "snapshots":
        print(f"  this is {name.partition('@')[0]}@{folder.name}")
    for file in files:
        print(f"  {sha256(file)}  {file.stat().st_size:>13,}  {file.name}")
    return folder


def fetch_collection(name: str) -> Path:
    """Fetch a collection, build its document store, count its terms; give its folder.

    Raises
    ------
    OSError, ValueError
        As `mechir_edu.load_collection`, and where HF_HUB_OFFLINE forbids to download it.
    """
    from mechir_edu.collection.collection import load_collection

    folder = _family(name)
    if name not in EMBEDDED and is_offline() and not any(folder.rglob("*.*")):
        raise OSError(
            f"HF_HUB_OFFLINE is set and {folder} is empty; unset it where there is a network, or "
            "install a bundle: mechir-edu prefetch --from FILE.zip"
        )
    collection = load_collection(name)
    counted = collection.statistics()
    qrels = sum(map(len, collection.qrels.values()))
    passages = sum(each.count() for each in collection.passages)
    print(f"  {len(collection.queries):,} queries, {qrels:,} judgments, {passages:,} passages")
    print(f"  {len(counted.df):,} terms counted in {counted.n_docs:,} passages")
    return folder


def is_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE asks us not to use the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in ("1", "ON", "YES", "TRUE")


def _family(name: str) -> Path:
    """Folder that ir_datasets keeps an id's files in, shared with the ids that share a start."""
    return folders()["ir_datasets"] / name.split("/")[0]


def _bundle(path: Path, models: list[Path], collections: list[str]) -> None:
    where = folders()
    wanted = {folder.name for folder in models if folder.parent.name == "snapshots"}
    families = {name.split("/")[0] for name in collections if name not in EMBEDDED}
    kept = [k for k in kept_models(where["hub"]) if k.name.partition("@")[2] in wanted]
    kept += [k for k in kept_collections(where["ir_datasets"]) if k.name in families]
    files = {name: file for each in kept for name, file in each.files.items()}
    if families:
        files |= kept_statistics(where["statistics"])
    manifest = write_bundle(path, files, [f"{k.kind} {k.name}" for k in kept])
    print(f"\n{path} holds {', '.join(manifest['contents'])}")
    _print_checksum(path)


def _install(args: argparse.Namespace) -> int:
    if args.models is not None or args.collections is not None:
        raise ValueError("--from installs all that a bundle holds; leave out what else was named")
    _print_checksum(args.source)
    manifest = install(args.source, folders())
    size = sum(entry["size"] for entry in manifest["files"].values())
    print(f"installed {len(manifest['files'])} files, {size:,} bytes:")
    for line in manifest["contents"]:
        print(f"  {line}")
    return 0


def _print_checksum(path: Path) -> None:
    print(f"{sha256(path)}  {path.stat().st_size:>13,}  {path.name}")
