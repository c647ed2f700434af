"""Pictures of the live page: an A/B plan under traffic, and a new plan in the middle.

    OLMOE_BIN_DIR=build/release/bin build/venv/bin/python tests/e2e/live_page_screenshot.py DIR

Takes about two minutes and writes live-page.png (light), live-page-dark.png and
live-page-narrow.png with a palette, so that they stay small. The first of them is
deploy/images/live-page.png.
"""

import argparse
import base64
import io
import pathlib
import sys
import tempfile
import time

from PIL import Image

import live_page
import models
from server_process import ServerProcess, wait_until

WIDTH, NARROW_WIDTH = 1440, 390


def picture(driver, path, width, theme):
    """The whole page, as high as it is."""
    live_page.set_theme(driver, theme)
    live_page.set_size(driver, width, 1000)
    height = driver.execute_async_script("""
        const done = arguments[0];
        requestAnimationFrame(() => requestAnimationFrame(
            () => setTimeout(() => done(document.documentElement.scrollHeight), 1500)));""")
    live_page.set_size(driver, width, height)
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    image.quantize(256, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1024:.0f} KiB")


def watch(server, driver, seconds):
    """Traffic on the first plan, then on a second one, while the page is open."""
    live_page.patch_experiment(server)
    driver.get(f"http://{server.address('http')}/")
    begin = time.monotonic()
    with live_page.traffic(server):
        wait_until(lambda: time.monotonic() - begin > seconds * 0.55, "half of the time is over")
        live_page.patch_experiment(server, 0.3, "a larger alpha: more experts for hard tokens?")
        wait_until(lambda: time.monotonic() - begin > seconds, "the time is over")
        yield


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=75)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ServerProcess(models.demo_model()) as server, \
            live_page.chromium() as driver:
        live_page.set_size(driver, WIDTH, 1000)
        live_page.set_theme(driver, "light")
        live_page.build_calibration(server, pathlib.Path(folder))
        for _ in watch(server, driver, options.seconds):
            picture(driver, options.folder / "live-page.png", WIDTH, "light")
            picture(driver, options.folder / "live-page-dark.png", WIDTH, "dark")
            picture(driver, options.folder / "live-page-narrow.png", NARROW_WIDTH, "light")
        for entry in driver.get_log("browser"):
            print(entry["level"], entry["message"], file=sys.stderr)


if __name__ == "__main__":
    main()
