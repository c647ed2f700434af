#!/usr/bin/env python3
"""Writes the pages of docs/reference that are made from the programs and from proto/:

    OLMOE_BIN_DIR=build/release/bin build/venv/bin/python tests/docs/reference.py
"""

import pathlib
import sys

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE_DIR / "tests/e2e"))

import api_page  # noqa: E402
import help_pages  # noqa: E402
import metrics_page  # noqa: E402
from server_process import bin_dir  # noqa: E402

FOLDER = SOURCE_DIR / "docs/reference"
# Name -> its text now.
PAGES = {
    "api.md": lambda: api_page.page(SOURCE_DIR / "proto"),
    "flags.md": lambda: help_pages.flags_page(bin_dir()),
    "metrics.md": lambda: metrics_page.page(metrics_page.scrape(SOURCE_DIR / "deploy/demo")),
    "olmoectl.md": lambda: help_pages.olmoectl_page(bin_dir()),
}


def main():
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make())


if __name__ == "__main__":
    main()
