"""The real Prometheus as a child process, with the files of deploy/observability."""

import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import api
from server_process import DEADLINE_S, wait_until

OBSERVABILITY = api.SOURCE_DIR / "deploy/observability"


def substitute(pattern, replacement, text):
    """All of them; there has to be one."""
    text, count = re.subn(pattern, replacement, text)
    assert count, f"prometheus.yml has no {pattern}"
    return text


class PrometheusProcess:
    """Scrapes `target` every second by the committed prometheus.yml, of which only address
    and intervals are changed. Use as a context manager."""

    def __init__(self, target):
        self._folder = tempfile.TemporaryDirectory(prefix="olmoe-prometheus-")
        folder = pathlib.Path(self._folder.name)
        config = (OBSERVABILITY / "prometheus.yml").read_text()
        config = substitute(r"(scrape|evaluation)_interval: \w+", r"\1_interval: 1s", config)
        config = substitute(r'targets: \[".*"\]', f'targets: ["{target}"]', config)
        (folder / "prometheus.yml").write_text(config)
        shutil.copy(OBSERVABILITY / "rules.yml", folder)
        self._log_path = folder / "prometheus.log"
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(
                ["prometheus", f"--config.file={folder}/prometheus.yml",
                 f"--storage.tsdb.path={folder}/data", "--web.listen-address=127.0.0.1:0"],
                stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})
        try:
            wait_until(self._find_port, "Prometheus listens")
            wait_until(self._is_ready, "Prometheus is ready")
        except BaseException:
            self.__exit__()
            raise

    def _find_port(self):
        assert self._process.poll() is None, f"Prometheus did not start:\n{self.log()}"
        found = re.search(r'msg="Listening on" address=(127\.0\.0\.1:\d+)', self.log())
        self._address = found and found[1]
        return found

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=DEADLINE_S):
                return True
        except urllib.error.HTTPError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def log(self):
        return self._log_path.read_text(errors="replace")

    def get(self, path, **parameters):
        """The data of a call of Prometheus' API."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE_S) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression, at):
        """[(labels, value)] at a time in seconds; values that are not numbers are left out."""
        result = self.get("query", query=expression, time=f"{at:.3f}")["result"]
        samples = [(sample["metric"], float(sample["value"][1])) for sample in result]
        return [(labels, value) for labels, value in samples if math.isfinite(value)]

    def last_scrape(self):
        """When the last scrape began that Prometheus answers from; 0 before the first."""
        result = self.get("query", query="timestamp(olmoe_build_info)")["result"]
        return max((float(sample["value"][1]) for sample in result), default=0)
