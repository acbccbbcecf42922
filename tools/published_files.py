"""Read what the authors of MechIR published with their paper, or fetch it and check it.

For each of two rankers and two axioms: 4,000 pairs (``..._topk_4000.tsv``) and five head-patching
grids (``..._patch_head_{all,rel_0,...,rel_3}.npy``). ``published_files.json`` names each file, the
commits at which the repository may hold this version of it, and the SHA-256 of its content
(unpacked, where a copy is packed): the checksum decides which commit is right.
"""

import gzip
import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pandas as pd

from mechir_edu.files import write_whole

MANIFEST = Path(__file__).with_name("published_files.json")
REPOSITORY = "https://raw.githubusercontent.com/Parry-Parry/MechIR/{commit}/{path}"
RANKERS = {
    "TAS-B": "sebastian-hofstaetter-distilbert-dot-tas_b-b256-msmarco_bi",
    "monoELECTRA": "crystina-z-monoELECTRA_LCE_nneg31_cross",
}
AXIOMS = ("TFC1", "TDC")
GRADES = (0, 1, 2, 3)
COLUMNS = ("qid", "docno", "score_delta", "text", "perturbed_text", "query", "relevance")


@dataclass(frozen=True)
class Published:
    """What was published about one ranker and axiom.

    Attributes
    ----------
    pairs : qid, docno, score_delta, text, perturbed_text, query, relevance, in the file's order.
    whole : recovery [layer, head] over all pairs.
    by_grade : the same for the pairs of each grade, [grade, layer, head].
    """

    ranker: str
    axiom: str
    pairs: pd.DataFrame
    whole: np.ndarray
    by_grade: np.ndarray

    @cached_property
    def terms(self) -> pd.Series:
        """The word that each pair adds."""
        both = zip(self.pairs["text"], self.pairs["perturbed_text"], strict=True)
        return pd.Series([perturbed[len(text) + 1 :] for text, perturbed in both])


def read_all(folder: Path) -> list[Published]:
    """Read everything, rankers first.

    Raises
    ------
    FileNotFoundError
        If a file is missing; names it and says how to get it.
    """
    return [read_published(folder, ranker, axiom) for ranker in RANKERS for axiom in AXIOMS]


def read_published(folder: Path, ranker: str, axiom: str) -> Published:
    """Read what was published about one ranker and axiom.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If the pairs lack a column, or the five grids are not of one shape [layer, head].
    """
    stem = f"{RANKERS[ranker]}_{axiom}"
    pairs = pd.read_csv(
        io.BytesIO(read_content(folder, f"{stem}_topk_4000.tsv")),
        sep="\t",
        dtype={"qid": str, "docno": str, "text": str, "perturbed_text": str},
        keep_default_na=False,
    )
    if lacking := [name for name in COLUMNS if name not in pairs.columns]:
        raise ValueError(
            f"{stem}_topk_4000.tsv needs the columns {', '.join(COLUMNS)}; it lacks "
            f"{', '.join(lacking)}: take the published file"
        )
    whole, *by_grade = (
        np.load(io.BytesIO(read_content(folder, f"{stem}_4000_patch_head_{part}.npy")))
        for part in ("all", *(f"rel_{grade}" for grade in GRADES))
    )
    shapes = [grid.shape for grid in (whole, *by_grade)]
    if whole.ndim != 2 or len({*shapes}) > 1:
        raise ValueError(
            f"{stem}_4000_patch_head_*.npy need five grids [layer, head] of one shape, got "
            f"{', '.join(map(str, shapes))}: take the published files"
        )
    return Published(ranker, axiom, pairs, whole, np.stack(by_grade))


def read_content(folder: Path, name: str) -> bytes:
    """Content of a file, or of its packed copy."""
    if (packed := folder / f"{name}.gz").is_file():
        return gzip.decompress(packed.read_bytes())
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f"needed the published file {name} in {folder}, found none; "
            "get all of them with: python tools/published.py download --into FOLDER, and name "
            "that folder with --files"
        )
    return (folder / name).read_bytes()


def checked_files() -> dict[str, dict]:
    """Read the manifest: for each file its path, commits and SHA-256."""
    return json.loads(MANIFEST.read_text(encoding="utf-8"))


def differing(folder: Path) -> list[str]:
    """Names of files whose content is not the published one."""
    return [
        name
        for name, entry in checked_files().items()
        if hashlib.sha256(read_content(folder, name)).hexdigest() != entry["sha256"]
    ]


def download(folder: Path, address: str = REPOSITORY) -> None:
    """Fetch every file whose checksum fits, from the first of its commits that has it.

    Raises
    ------
    OSError
        If no commit gives the file with this checksum.
    """
    for name, entry in checked_files().items():
        for commit in entry["commits"]:
            content = _fetch(address.format(commit=commit, path=entry["path"]))
            if hashlib.sha256(content).hexdigest() == entry["sha256"]:
                write_whole(folder / name, content)
                break
        else:
            raise OSError(
                f"{name} could not be fetched with SHA-256 {entry['sha256']} from any of "
                f"{len(entry['commits'])} commits; is there a network? Else copy the files"
            )


def _fetch(url: str) -> bytes:
    try:
        with urlopen(url, timeout=30) as answer:
            return answer.read()
    except (URLError, TimeoutError):
        return b""
