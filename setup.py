"""Put the notebooks into the wheel; pyproject.toml says everything else."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TUTORIALS = Path(__file__).resolve().parent / "tutorials"


class WithNotebooks(build_py):
    """Copy both sets of notebooks, so that the repository holds each of them once.

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


setup(cmdclass={"build_py": WithNotebooks})
