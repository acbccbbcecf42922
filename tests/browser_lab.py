"""Real JupyterLab in a real browser: start it, run a notebook, use a panel by keyboard."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
ARTEFACTS = Path(os.environ.get("BROWSER_ARTEFACTS", ROOT / "test-artefacts"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 600_000  # ms: the machine may have much else to do
SETTINGS = {
    # All cells in the page at once, so that every output can be found.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false"},
    # Light or dark as the page's media says.
    "@jupyterlab/apputils-extension/themes": {"adaptive-theme": True},
}
PROMPTS = """[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
    .filter(p => p.closest('.jp-Cell').querySelector('.cm-content')?.innerText.trim())
    .map(p => p.innerText)"""
FINISHED = f"(prompts => prompts.length && prompts.every(p => /\\d/.test(p)))({PROMPTS})"


@contextmanager
def jupyterlab(folder, home):
    """JupyterLab on the notebooks of a folder; gives the address to open a notebook with.

    ``home`` keeps its settings and state, so that nothing of the user's comes in.
    """
    for name, settings in SETTINGS.items():
        file = home / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    port, token = free_port(), secrets.token_hex(16)
    options = [
        "--no-browser",
        "--allow-root",
        f"--ServerApp.port={port}",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.user_settings_dir={home / 'settings'}",
        f"--LabApp.workspaces_dir={home / 'workspaces'}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    kinds = ("CONFIG", "DATA", "RUNTIME")
    env = os.environ | {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in kinds}
    env |= {"MECHIR_EDU_FAST": "1", "IPYTHONDIR": str(home / "ipython"), "OMP_NUM_THREADS": "1"}
    env.pop("MPLBACKEND", None)
    with (home / "jupyterlab.log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server)
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}"
        finally:
            server.terminate()  # it takes its kernels along
            server.wait(60)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, server, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            return urllib.request.urlopen(url, timeout=5).read()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not start (exit status {server.poll()}), see its log")


@contextmanager
def browser_page():
    """A page of a fresh Chromium, and the list of what its console and scripts complain about."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1100})
        page.set_default_timeout(PATIENCE)
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        try:
            yield page, complaints
        except BaseException:
            ARTEFACTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=ARTEFACTS / "failure.png")
            raise
        finally:
            browser.close()


def run_all(page, address):
    """Open a notebook and run all its cells; returns when the last one is done."""
    page.goto(address)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    # The status bar's word: the notebook's own indicator says idle before there is a kernel.
    page.get_by_text("| Idle", exact=False).first.wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(FINISHED):
        if time.monotonic() > end:
            raise RuntimeError(f"cells are not done: {page.evaluate(PROMPTS)}")
        page.wait_for_timeout(500)


def set_theme(page, scheme):
    """Change JupyterLab's theme, to "light" or "dark"."""
    page.emulate_media(color_scheme=scheme)
    is_light = "true" if scheme == "light" else "false"
    page.locator(f"body[data-jp-theme-light='{is_light}']").wait_for(state="attached")
    page.wait_for_timeout(1000)  # its style sheet is loaded, and colours fade


# Contrast as the Web Content Accessibility Guidelines 2 define it, of each text of the panels with
# what is painted below it. A canvas reads colours however they are written. Disabled controls are
# left out, as the guidelines do.
FAINT = """() => {
  const paper = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    paper.clearRect(0, 0, 1, 1); paper.fillStyle = colour; paper.fillRect(0, 0, 1, 1);
    return [...paper.getImageData(0, 0, 1, 1).data].map(part => part / 255);
  };
  const over = (top, below) =>
    [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = element => {
    const behind = element.parentElement ? () => ground(element.parentElement) : () => [1, 1, 1, 1];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind());
  };
  const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const faint = [];
  for (const panel of document.querySelectorAll('.mechir-edu-panel')) {
    for (const element of panel.querySelectorAll('*')) {
      const own = [...element.childNodes].filter(node => node.nodeType === 3);
      const text = own.map(node => node.data.trim()).join(' ').trim() || element.value || '';
      const is_shown = element.getClientRects().length && element.tagName !== 'STYLE';
      if (!text || !is_shown || element.tagName === 'OPTION' || element.disabled) continue;
      const below = ground(element), ink = over(rgba(getComputedStyle(element).color), below);
      const [low, high] = [luminance(ink), luminance(below)].sort((a, b) => a - b);
      const contrast = (high + 0.05) / (low + 0.05);
      if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${element.tagName} ${text}`);
    }
  }
  return faint;
}"""

# What sticks out of its panel, or scrolls within it, and controls that overlap.
CROWDED = """() => {
  const crowded = [];
  for (const panel of document.querySelectorAll('.mechir-edu-panel')) {
    const page = panel.getBoundingClientRect();
    for (const element of panel.querySelectorAll('*')) {
      const {width, right} = element.getBoundingClientRect();
      const name = `${element.tagName}.${element.className} ${element.textContent.slice(0, 30)}`;
      const scrolls = ['auto', 'scroll'].includes(getComputedStyle(element).overflowX);
      if (width && right > page.right + 1) crowded.push(`sticks out: ${name}`);
      const is_wide = element.scrollWidth > element.clientWidth + 1;
      if (scrolls && is_wide) crowded.push(`scrolls: ${name}`);
    }
    const controls = [...panel.querySelectorAll("[class*='mechir-edu-']")]
      .map(control => control.getBoundingClientRect()).filter(({width}) => width);
    controls.forEach((a, i) => controls.slice(i + 1).forEach(b => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 1) crowded.push(`overlap: controls ${i} and a later one`);
    }));
  }
  return crowded;
}"""


def faint_texts(page):
    """Texts of the panels whose contrast with their background is less than 4.5 : 1."""
    return page.evaluate(FAINT)


def crowded_parts(page, width):
    """What does not fit a panel in a window of this width in CSS pixels."""
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(1000)
    return page.evaluate(CROWDED)


def error_outputs(page):
    return page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()


def screenshot(page, element, name):
    """Keep a picture of an element of the page."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    element.scroll_into_view_if_needed()
    element.screenshot(path=ARTEFACTS / f"{name}.png")


class LivePanel:
    """One panel in the page, used by keyboard only."""

    def __init__(self, page, element):
        self.page, self.element = page, element
        controls = element.locator("[class*='mechir-edu-']")
        self.controls = [controls.nth(i) for i in range(controls.count())]
        self.button = element.locator(".mechir-edu-run")

    def picture(self):
        """Source of the picture, "" while there is none."""
        image = self.element.locator("img")
        return image.get_attribute("src") if image.count() == 1 else ""

    def message(self):
        return " ".join(self.element.locator("[role='alert']").all_inner_texts())

    def waits_for_new_picture(self, old, seconds=8):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.picture() not in ("", old):
                return True
            self.page.wait_for_timeout(100)
        return False

    def answers(self, old):
        """Whether a new picture comes before the kernel has rested for a while."""
        end, n_idle = time.monotonic() + PATIENCE / 1000, 0
        while n_idle < 15 and time.monotonic() < end:
            if self.picture() not in ("", old):
                return True
            self.page.wait_for_timeout(100)
            n_idle = n_idle + 1 if self.page.get_by_text("| Idle", exact=False).count() else 0
        return False

    def is_operable(self, control):
        """Whether there is something to choose; the button is pressed for the others."""
        options = control.locator("option")
        names = control.get_attribute("class").split()
        is_button = {"mechir-edu-run", "mechir-edu-apply"} & set(names)
        return not is_button and options.count() != 1

    def reach(self, target):
        """Press Tab until the target has the focus, starting at the panel's first control."""
        kinds = ("select", ".noUi-handle", "textarea", "button")
        first = ", ".join(f"[class*='mechir-edu-'] {kind}:visible" for kind in kinds)
        self.element.locator(first).first.focus()
        for _ in range(40):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise RuntimeError("the Tab key does not lead to a control of the panel")

    def move(self, control):
        """Move a control by keyboard until a new picture appears; says whether one did."""
        old = self.picture()
        # Some neighbours look alike (an axiom, and the pair that was made by it).
        for key in ("next", "next", "next", "next", "back", "back"):
            self.press(control, key)
            if self.button.count():
                # Disabled while it works, which takes long on a busy machine, and then passed by.
                self.element.locator(".mechir-edu-run:enabled").wait_for()
                self.reach(self.button)
                self.page.keyboard.press("Enter")
            if self.answers(old):
                return True
        return False

    def write(self, text, at):
        """Type into the panel's field, after the keys that say where."""
        self.reach(self.element.locator("textarea"))
        self.page.keyboard.press(at)
        self.page.keyboard.type(text)

    def press(self, control, key):
        if control.locator("textarea").count():
            self.write(" hurricane", at="Control+End")
            place = self.element.bounding_box()["y"]
            self.page.keyboard.press("Tab")
            if not self.element.evaluate("panel => panel.contains(document.activeElement)"):
                raise RuntimeError("the Tab key leads out of the panel, not to its Apply button")
            if abs(self.element.bounding_box()["y"] - place) > 100:
                raise RuntimeError("the page jumps when the text's field is left")
            self.page.keyboard.press("Enter")
        elif control.locator("button").count():
            self.reach(control.locator("button:not(.mod-active)").first)
            self.page.keyboard.press("Enter")
        elif control.locator("select").count():
            self.reach(control.locator("select"))
            # JupyterLab takes the arrow keys for itself unless the list is open.
            for step in ("Space", "ArrowUp" if key == "back" else "ArrowDown", "Enter"):
                self.page.keyboard.press(step)
                self.page.wait_for_timeout(250)
        else:
            self.reach(control.locator(".noUi-handle"))
            self.page.keyboard.press("ArrowLeft" if key == "back" else "ArrowRight")


def panels(page):
    elements = page.locator(".mechir-edu-panel")
    return [LivePanel(page, elements.nth(i)) for i in range(elements.count())]
