"""Build the site into a new folder; returns Sphinx's exit code."""

import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import build_main
from workshop.kit import write_kit

from website.pages import lay_out

out = Path(sys.argv[1])
kit = write_kit(out / "workshop")
with tempfile.TemporaryDirectory() as sources:
    lay_out(Path(sources), [file.relative_to(out).as_posix() for file in kit])
    options = ["-W", "--keep-going", "-E", "-q", "-c", str(Path(__file__).parent), "-b", "html"]
    sys.exit(build_main([*options, "-d", f"{sources}/.doctrees", sources, *sys.argv[1:]]))
