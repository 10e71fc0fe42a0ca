"""A headless Chromium that talks to this machine only."""

import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1280,1000", "--force-device-scale-factor=1",
)  # fmt: skip


def missing() -> str | None:
    """Why there is no browser here, or None."""
    if find_spec("selenium") is None:
        return "selenium (extra `dev`) is not installed"
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: apt-get install {package})"
    return None


needs_browser = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@contextmanager
def open_browser(profile: Path):
    """A driver with a profile of its own, which leaves nothing running."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def look_like(driver, width: int, scheme: str, height: int = 900) -> None:
    """A window of `width` CSS pixels of somebody who prefers `light` or `dark`."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


# What leaves the window and is in no box that scrolls; the width of the page; how light its paper and its ink are, 0 to 255.
_SEEN = """
const wide = document.documentElement.clientWidth, out = [];
for (const one of document.body.querySelectorAll('*')) {
  const box = one.getBoundingClientRect();
  let above = one.parentElement, scrolled = false;
  while (above && above !== document.body) {
    scrolled ||= ['auto', 'scroll'].includes(getComputedStyle(above).overflowX);
    above = above.parentElement;
  }
  if (!scrolled && box.width && (box.right > wide + .5 || box.left < -.5))
    out.push(`${one.tagName} ${one.id} ${one.className} ${box.left} to ${box.right}`);
}
const style = getComputedStyle(document.body);
const light = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3;
return {out, scroll: document.documentElement.scrollWidth, wide, paper: light(style.backgroundColor), ink: light(style.color)};
"""


def check_layout(driver, width: int, scheme: str) -> None:
    """The page fits the window, and is dark upon request."""
    seen = driver.execute_script(_SEEN)
    assert not seen["out"] and seen["scroll"] <= seen["wide"] <= width, (width, seen)
    dark, light = sorted((seen["paper"], seen["ink"]))
    assert dark < 60 and light > 200 and (seen["paper"] == dark) == (scheme == "dark"), (scheme, seen)
