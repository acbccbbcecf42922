"""The repository's address, stored in one place, and what in a notebook depends on it.

``tutorials/repository.json`` is that place. While it names no repository, no badge is shown: it
would lead nowhere.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from mechir_edu.files import write_whole
from notebooks.sources import ROOT

_STORED = "tutorials/repository.json"

_SETUP = """\
# @title Set up (run this first; it installs only on Colab) {{ display-mode: "form" }}
import importlib.util, os, pathlib, subprocess, sys
from importlib import metadata

# Before PyTorch is imported: its threads shall sleep while they wait for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

repository = "{repository}"  # @param {{type:"string"}}
ref = "{ref}"  # @param {{type:"string"}}
if "google.colab" in sys.modules and importlib.util.find_spec("mechir_edu") is None:
    if not repository:
        raise RuntimeError("Type the OWNER/NAME of a MechIR-Edu repository above, and run again.")
    # What Colab brings stays as it is: a changed torch or ipywidgets would ask for a restart.
    theirs = ("torch", "numpy", "transformers", "huggingface_hub", "ipywidgets")
    kept = [f"{{name}}=={{metadata.version(name)}}" for name in theirs]
    pathlib.Path("kept.txt").write_text("\\n".join(kept))
    wanted = f"mechir-edu[offline] @ https://github.com/{{repository}}/archive/{{ref}}.zip"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "kept.txt"]
    subprocess.run([*pip, wanted], check=True)
    importlib.invalidate_caches()"""


@dataclass(frozen=True)
class Address:
    """Where the notebooks can be opened from; ``repository`` is OWNER/NAME, or empty."""

    repository: str = ""
    ref: str = "main"

    def __post_init__(self) -> None:
        if self.repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise ValueError(
                f"needed a repository as OWNER/NAME, got {self.repository!r}; leave out the host"
            )
        if not re.fullmatch(r"[\w./-]+", self.ref):
            raise ValueError(f"needed the name of a tag or branch, got {self.ref!r}")

    def badges(self, name: str) -> str:
        """Badges that open the participant's copy, or nothing while no repository is set."""
        if not self.repository:
            return ""
        place = f"tutorials/{name}.ipynb"
        colab = "https://colab.research.google.com"
        binder = "https://mybinder.org"
        tree = place.replace("/", "%2F")
        return (
            f"[![Open in Colab]({colab}/assets/colab-badge.svg)]"
            f"({colab}/github/{self.repository}/blob/{self.ref}/{place}) "
            f"[![Open on Binder]({binder}/badge_logo.svg)]"
            f"({binder}/v2/gh/{self.repository}/{self.ref}?urlpath=lab%2Ftree%2F{tree})"
        )

    def setup(self) -> str:
        """Code that installs the package on Colab and nothing elsewhere."""
        return _SETUP.format(repository=self.repository, ref=self.ref)


def load_address(root: Path = ROOT) -> Address:
    """Read the stored address."""
    return Address(**json.loads((root / _STORED).read_text(encoding="utf-8")))


def store_address(address: Address, root: Path = ROOT) -> None:
    """Store the address; notebooks and README follow when they are built."""
    write_whole(root / _STORED, (json.dumps(asdict(address)) + "\n").encode())
