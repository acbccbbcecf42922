"""Build the site into a new folder; returns Sphinx's exit code."""

import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import build_main

from website.pages import lay_out

with tempfile.TemporaryDirectory() as sources:
    lay_out(Path(sources))
    options = ["-W", "--keep-going", "-E", "-q", "-c", str(Path(__file__).parent), "-b", "html"]
    sys.exit(build_main([*options, "-d", f"{sources}/.doctrees", sources, *sys.argv[1:]]))
