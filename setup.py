"""Put the notebooks and their pages into the wheel; pyproject.toml says everything else."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
TUTORIALS = ROOT / "tutorials"
# What notebooks link to, beside files of the package; MANIFEST.in lists the same.
PAGES = ("README.md", "docs/*.md", "docs/*.png", "docs/study/published*")


class WithNotebooks(build_py):
    """Copy both sets of notebooks and their pages, so that the repository holds each once.

    An editable installation copies nothing: the command finds them in the checkout.
    """

    def run(self):
        """Copy the modules, then the notebooks; refuses to build a wheel without them."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "mechir_edu/assets/tutorials")
        shutil.rmtree(target, ignore_errors=True)  # a build folder may hold older ones
        for part in (".", "solutions"):
            if not (notebooks := sorted((TUTORIALS / part).glob("*.ipynb"))):
                raise FileNotFoundError(f"needed notebooks in {TUTORIALS / part}, there are none")
            (target / part).mkdir(parents=True, exist_ok=True)
            for notebook in notebooks:
                shutil.copyfile(notebook, target / part / notebook.name)
        for page in (page for pattern in PAGES for page in ROOT.glob(pattern)):
            place = target / "pages" / page.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, place)


setup(cmdclass={"build_py": WithNotebooks})
