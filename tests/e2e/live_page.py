"""What looking at the live page takes: a headless Chromium, an experiment, light traffic."""

import contextlib
import pathlib
import time

import pytest

import api
import background

CHROMIUM = pathlib.Path("/usr/bin/chromium")
DRIVER = pathlib.Path("/usr/bin/chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--force-color-profile=srgb")
CALIBRATION_TEXT = "Once upon a time there was a little fox who lived in a wood. " * 30
PROMPTS = ("Once upon a time", "The little fox", "One day Lily went to the park",
           "Tom had a big red ball", "There was a bird who could not fly")


@contextlib.contextmanager
def chromium(width=1440, height=1000):
    """A browser that logs its console and its requests; skips where there is none."""
    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.skip(f"{program} is absent: install tests/packages.txt")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options,
                              service=webdriver.ChromeService(executable_path=str(DRIVER)))
    try:
        driver.set_page_load_timeout(60)
        yield driver
    finally:
        driver.quit()


def set_theme(driver, theme):
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": theme}]})


def set_size(driver, width, height, scale=1):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": scale, "mobile": False})


def build_calibration(server, folder):
    (folder / "texts.txt").write_text(CALIBRATION_TEXT)
    done = server.ctl("calibration", "build", "fox", "--trim-top", 8, "--texts",
                      folder / "texts.txt")
    assert done.returncode == 0, done.stderr


def patch_experiment(server, alpha=0.12, note="does Benjamini-Hochberg need fewer experts?"):
    """Two arms of equal weight: the model's own routing, which analyzes the other arm's rule,
    and Benjamini-Hochberg."""
    rule = f"alpha={alpha},calibration=fox"
    return server.ctl_json("patch", "--arm", "control", "--weight", 50, "--bh", rule, "--analyze",
                           "--arm", "bh", "--weight", 50, "--bh", rule, "--note", note)


def traffic(server, clients=2, pause_s=0.15):
    """Clients that generate for ever new units, each with a pause after a reply."""
    def generate(client, i):
        unit = i * clients + client
        request = api.inference.GenerateRequest(text=PROMPTS[unit % len(PROMPTS)],
                                                max_new_tokens=8 + unit * 7 % 40,
                                                ignore_eos=True, unit_id=f"u{unit}")
        server.generate(request)
        time.sleep(pause_s)

    return background.repeated(clients, generate)
