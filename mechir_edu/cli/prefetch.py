"""Download models and collections, or carry them to another machine on a USB stick."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from mechir_edu.cli.arguments import Listed, path, require_folder

DESCRIPTION = (
    "Download what the notebooks need while there is a network, and print sizes and SHA-256. "
    "Without arguments, the embedded model and collection are verified, which needs no network. "
    "--bundle FILE.zip also puts what was downloaded into one file; --from FILE.zip installs such "
    "a file on a machine without a network, whole or not at all. Take a bundle only from people "
    "whose programs you would run. HF_HUB_OFFLINE=1 is obeyed. Exit code 1: something could not "
    "be downloaded."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mechir-edu prefetch``."""
    parser.add_argument(
        "--models",
        nargs="*",
        action=Listed,
        metavar="ID",
        help='hub ids, or OWNER/NAME@COMMIT for one commit (default: "embedded")',
    )
    parser.add_argument(
        "--collections",
        nargs="*",
        action=Listed,
        metavar="ID",
        help='ir_datasets ids such as msmarco-passage/trec-dl-2019/judged (default: "embedded")',
    )
    file = parser.add_mutually_exclusive_group()
    file.add_argument(
        "--bundle", type=path, metavar="FILE.zip", help="also write a bundle of all of these"
    )
    file.add_argument(
        "--from", type=path, dest="source", metavar="FILE.zip", help="install a bundle"
    )


def run(args: argparse.Namespace) -> int:
    """Download, bundle or install; 0 done, 1 something could not be downloaded.

    Raises
    ------
    ValueError, OSError, ImportError
        For arguments that exclude each other, and a bundle that cannot be written or installed.
    """
    from mechir_edu.cli.offline.caches import folders
    from mechir_edu.cli.offline.switch import finish

    finish(folders().values())
    if args.source:
        if not args.source.is_file():
            raise FileNotFoundError(f"--from needs a bundle, there is no file {args.source}")
        if args.models is not None or args.collections is not None:
            raise ValueError("--from installs a whole bundle; leave out --models and --collections")
        return install_bundle(args.source)
    if args.bundle:
        require_folder("--bundle", args.bundle.parent)
        if args.bundle.is_dir():
            raise IsADirectoryError(f"--bundle needs the name of a file, {args.bundle} is a folder")
    asked = args.models is not None or args.collections is not None
    models = args.models or ([] if asked else ["embedded"])
    collections = args.collections or ([] if asked else ["embedded"])
    # Both lists are in the order of what was asked for.
    model_folders = [_attempt(download_model, name, "model") for name in models]
    downloaded = [_attempt(download_collection, name, "collection") for name in collections]
    if None in (*model_folders, *downloaded):
        bundle = " No bundle was written." if args.bundle else ""
        print(f"Not everything could be downloaded; the rest is kept.{bundle}", file=sys.stderr)
        return 1
    if args.bundle:
        bundle_up(args.bundle, model_folders, collections)
    return 0


def _attempt(download: Callable[[str], Path], name: str, kind: str) -> Path | None:
    """Download one thing and say what came of it; a failure does not stop the others."""
    print(f"{kind} {name}", flush=True)
    try:
        return download(name)
    except (OSError, ImportError, ValueError) as error:
        print(f"  could not be downloaded: {error}", file=sys.stderr)
        return None


def download_model(name: str) -> Path:
    """Download a model, print its files' sizes and SHA-256, and give its folder.

    Raises
    ------
    OSError, ImportError, ValueError
        As `mechir_edu.rankers.checkpoint.loading.model_folder`.
    """
    # They bring torch, which installing a bundle does not need.
    from mechir_edu.files import check_sha256
    from mechir_edu.rankers import embedded
    from mechir_edu.rankers.checkpoint import loading

    folder = loading.model_folder(name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if name == "embedded":
        check_sha256(embedded.ADAPTER, embedded.SHA256)
        files = [folder / "model.safetensors", embedded.ADAPTER]
    if folder.parent.name == "snapshots":
        print(f"  this is {name.partition('@')[0]}@{folder.name}")
    for file in files:
        print_checksum(file, indent="  ")
    return folder


def download_collection(name: str) -> Path:
    """Download a collection, build its document store, count its terms; give its folder.

    Raises
    ------
    OSError, ValueError
        As `mechir_edu.load_collection`, and where HF_HUB_OFFLINE forbids the download.
    """
    from mechir_edu.cli.offline.caches import folders, is_offline
    from mechir_edu.collection.load import load_collection

    # A folder that ir_datasets shares between ids of the same beginning.
    folder = folders()["ir_datasets"] / name.split("/")[0]
    if not is_embedded(name) and is_offline() and not any(folder.rglob("*.*")):
        raise OSError(
            f"HF_HUB_OFFLINE is set and {folder} is empty; unset it where there is a network, or "
            "install a bundle: mechir-edu prefetch --from FILE.zip"
        )
    collection = load_collection(name)
    counted = collection.statistics()
    n_judgments = sum(map(len, collection.qrels.values()))
    n_passages = sum(passages.count() for passages in collection.passages)
    print(
        f"  {len(collection.queries):,} queries, {n_judgments:,} judgments, {n_passages:,} passages"
    )
    print(f"  {len(counted.df):,} terms counted in {counted.n_docs:,} passages")
    return folder


def is_embedded(collection: str) -> bool:
    """Tell whether a collection comes with the package."""
    from mechir_edu.collection import mini

    return collection in ("embedded", mini.ID)


def bundle_up(path: Path, model_folders: list[Path], collections: list[str]) -> None:
    """Write a bundle of the models in these folders, these collections, and all counted terms."""
    from mechir_edu.cli.offline import caches
    from mechir_edu.cli.offline.bundle import write_bundle

    where = caches.folders()
    commits = {folder.name for folder in model_folders if folder.parent.name == "snapshots"}
    families = {name.split("/")[0] for name in collections if not is_embedded(name)}
    models = caches.cached_models(where["hub"])
    items = [model for model in models if model.name.partition("@")[2] in commits]
    cached = caches.cached_collections(where["ir_datasets"])
    items += [collection for collection in cached if collection.name in families]
    files = {name: file for item in items for name, file in item.files.items()}
    if families:
        files |= caches.cached_statistics(where["statistics"])
    manifest = write_bundle(path, files, [f"{item.kind} {item.name}" for item in items])
    print(f"\n{path} holds {', '.join(manifest['contents'])}")
    print_checksum(path)


def install_bundle(path: Path) -> int:
    """Install a bundle into the caches and say what it held; returns the exit code."""
    from mechir_edu.cli.offline.bundle import install
    from mechir_edu.cli.offline.caches import folders

    print_checksum(path)
    manifest = install(path, folders())
    size = sum(entry["size"] for entry in manifest["files"].values())
    print(f"installed {len(manifest['files'])} files, {size:,} bytes:")
    for line in manifest["contents"]:
        print(f"  {line}")
    return 0


def print_checksum(path: Path, indent: str = "") -> None:
    """Print SHA-256, size in bytes and name of a file."""
    from mechir_edu.files import sha256

    print(f"{indent}{sha256(path)}  {path.stat().st_size:>13,}  {path.name}")
