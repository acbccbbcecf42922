"""Fixtures that several test modules share."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

TREC_DL = Path(__file__).resolve().parents[2] / "shared" / "trec-dl"

# Set before any test module is imported, because ir_datasets reads its home once, when it is
# imported. It also keeps the tests out of the caches of whoever runs them.
SCRATCH = tempfile.TemporaryDirectory(prefix="mechir-edu-tests-")
os.environ["IR_DATASETS_HOME"] = f"{SCRATCH.name}/ir_datasets"
os.environ["MECHIR_EDU_CACHE"] = f"{SCRATCH.name}/cache"


@pytest.fixture(scope="session")
def trec_dl():
    """DL19 and DL20 in the ir_datasets home of the tests; gives that folder."""
    if not TREC_DL.is_dir():
        pytest.skip(f"real TREC DL data NOT TESTED: there is no folder {TREC_DL}")
    home = Path(os.environ["IR_DATASETS_HOME"])
    for file in filter(Path.is_file, TREC_DL.rglob("*")):
        copy = home / file.relative_to(TREC_DL)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)  # the content only, as the originals may be read-only
    return home
