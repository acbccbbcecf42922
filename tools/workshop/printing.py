"""Print pages as PDF with Chromium, or a browser that is built on it."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")


def find_browser() -> str | None:
    """A browser that can print without a window, or None."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def print_pdf(html: Path, browser: str) -> Path:
    """Print a page beside itself; the page says its size and margins.

    Raises
    ------
    RuntimeError
        If the browser printed nothing; its last words are quoted.
    """
    pdf = html.with_suffix(".pdf")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            *(["--no-sandbox"] if is_root else []),
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
            f"--print-to-pdf={pdf.absolute()}",
            html.absolute().as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if not pdf.is_file():
        raise RuntimeError(f"{browser} did not print {html.name}: {done.stderr[-500:]}")
    return pdf
