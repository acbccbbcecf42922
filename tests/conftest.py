"""Fixtures that several test modules share."""

import functools
import gc
import os
import shutil
import tempfile
from pathlib import Path

import first_calls
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

TREC_DL = Path(__file__).resolve().parents[2] / "shared" / "trec-dl"

# Set before any test module is imported, because ir_datasets reads its home once, when it is
# imported. It also keeps the tests out of the caches of whoever runs them.
# Workers inherit it, so that terms are counted once for all of them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    SCRATCH = tempfile.TemporaryDirectory(prefix="mechir-edu-tests-")
    os.environ["IR_DATASETS_HOME"] = f"{SCRATCH.name}/ir_datasets"
    os.environ["MECHIR_EDU_CACHE"] = f"{SCRATCH.name}/cache"
# Results are compared to the last bit between processes, which would each measure for themselves;
# tests/test_products.py lets them.
os.environ.setdefault("MECHIR_EDU_PRODUCT", "torch")

first_calls.install()

# No test measures time: what is drawn may take as long as a busy machine needs.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_make_parametrize_id(val):
    """Name a long text by its beginning, and bytes by nothing: an archive holds the time."""
    if isinstance(val, bytes):
        return f"{len(val)}-bytes" if len(val) < 80 else "many-bytes"
    return ascii(val[:60]) if isinstance(val, str) and len(val) > 80 else None


def pytest_collectstart():
    """Import the large libraries before the package, and only where tests are collected.

    While jaxtyping's hook runs a module, Python takes compiled files of jaxtyping's own for all
    that the module imports; libraries have none, so all of torch would be compiled anew.
    """
    import ir_datasets  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import scipy.stats  # noqa: F401
    import transformer_lens.model_bridge  # noqa: F401
    import transformers.modeling_utils  # noqa: F401


# Their tests take longest, and should not be what one worker still does when all others are done.
LONGEST = ("test_browser", "test_notebooks", "test_distributed", "test_runs", "test_study")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONGEST)  # stable: modules stay together


def pytest_runtest_setup():
    first_calls.begin_test()


@pytest.fixture(scope="session")
def trec_dl():
    """DL19 and DL20 in the ir_datasets home of the tests; gives that folder."""
    if not TREC_DL.is_dir():
        pytest.skip(f"real TREC DL data NOT TESTED: there is no folder {TREC_DL}")
    home = Path(os.environ["IR_DATASETS_HOME"])
    with FileLock(f"{home}.lock"):
        for file in filter(Path.is_file, TREC_DL.rglob("*")):
            copy = home / file.relative_to(TREC_DL)
            if not copy.exists():  # another worker's
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)  # the content only: the originals may be read-only
    return home


@pytest.fixture(scope="session", autouse=True)
def dropped_rankers_give_their_memory_back():
    """Leave out of the collector's count what the imported modules hold.

    A ranker's bridge refers to itself, so its weights (90 MB of MiniLM's) stay until the next full
    collection. Python makes one when the number of objects, not of bytes, has grown by a quarter:
    counted from all modules on, that is dozens of rankers.
    """
    gc.collect()
    gc.freeze()


# Loaded once, because loading verifies every hook; tests leave them as they are. The package is
# imported here and not above, so that the checks of array shapes are installed before it.


@pytest.fixture(scope="session")
def planted():
    """Our constructed cross-encoder, whose circuit is known."""
    from mechir_edu import Cat

    return Cat("planted")


@pytest.fixture(scope="session")
def dot():
    """MiniLM as a bi-encoder."""
    from mechir_edu import Dot

    return Dot("embedded")


@pytest.fixture(scope="session")
def cat():
    """Our cross-encoder on MiniLM's weights."""
    from mechir_edu import Cat

    return Cat("embedded")


@pytest.fixture(scope="session")
def collection():
    """The embedded collection."""
    from mechir_edu import load_collection

    return load_collection("embedded")


@pytest.fixture(scope="session")
def small_ranker(tmp_path_factory):
    """A function (family, kind) -> random ranker; each is made once."""
    from patching_helpers import load_small

    return functools.cache(
        lambda family, kind: load_small(family, kind, tmp_path_factory.mktemp(f"{family}-{kind}"))
    )


@pytest.fixture(scope="module")
def remembered():
    """A function: let a function of a module, by its name, remember what it gave.

    It spares commands the loading and verifying of a ranker that the command before has loaded.
    """
    with pytest.MonkeyPatch.context() as patched:

        def remember(module, name):
            compute, given = getattr(module, name), {}

            def remembering(*args, **options):
                key = repr((args, options))
                if key not in given:
                    given[key] = compute(*args, **options)
                return given[key]

            patched.setattr(module, name, remembering)

        yield remember


@pytest.fixture
def as_users_run():
    """Without the checks of types that only tests install: the package's own must do."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
