"""deploy/ on its hosts: the container image and the systemd unit."""

import contextlib
import http.server
import re
import shutil
import subprocess
import threading

import pytest

from api import SOURCE_DIR
from deploy_files import DEPLOY, UNIT, compose, dockerfile, pod
from server_process import DEADLINE_S, bin_dir

SANITIZERS = {"libasan8", "libubsan1"}  # builds with them are not deployed
MAX_EXPOSURE = 1.5  # of systemd-analyze security, 0 to 10


# ---- libraries


def needed_libraries():
    names = set()
    for binary in ("olmoe-server", "olmoectl"):
        headers = subprocess.run(["objdump", "-p", bin_dir() / binary], capture_output=True,
                                 text=True, check=True).stdout
        names |= set(re.findall(r"NEEDED\s+(\S+)", headers))
    return names


def owners(libraries):
    """The Debian packages of libraries, by the paths that the loader takes."""
    lines = subprocess.run(["ldd", bin_dir() / "olmoe-server", bin_dir() / "olmoectl"],
                           capture_output=True, text=True, check=True).stdout
    paths = {words[0]: words[2] for words in map(str.split, lines.splitlines())
             if len(words) == 4 and words[0] in libraries}
    packages = set()
    for path in paths.values():
        found = subprocess.run(["dpkg", "-S", path, path.removeprefix("/usr"), "/usr" + path],
                               capture_output=True, text=True, check=False).stdout
        assert found, f"no package has {path}"
        packages |= {line.partition(":")[0] for line in found.splitlines()}
    return packages


@pytest.mark.skipif(not shutil.which("dpkg") or not shutil.which("objdump"),
                    reason="needs dpkg and objdump")
def test_the_image_has_the_libraries_that_the_binaries_are_linked_with():
    listed = [line for line in (DEPLOY / "runtime-packages.txt").read_text().splitlines()
              if not line.startswith("#")]
    # Not linked with: LibTorch takes any BLAS, and the server is tuned for this one.
    assert "libopenblas0-pthread" in (DEPLOY / "packages.txt").read_text().split()
    linked = owners(needed_libraries())
    if linked & SANITIZERS:
        pytest.skip("a build with sanitizers is linked with more, and is not deployed")
    assert listed == sorted(linked | {"libopenblas0-pthread"})


# ---- image


def test_the_image_is_built_by_the_scripts_of_quickstart_and_ci():
    commands = " && ".join(arguments for name, arguments in dockerfile() if name == "RUN")
    scripts = [words.strip() for words in re.findall(r"deploy/\w+\.sh[\w -]*", commands)]
    assert scripts == ["deploy/install.sh", "deploy/build.sh release olmoe-server olmoectl",
                       "deploy/install.sh"]
    assert not re.search(r"\b(apt-get|apt install|cmake|ninja|pip)\b", commands)


def test_the_image_is_not_root():
    user, _, group = dict(dockerfile())["USER"].partition(":")
    security = pod()["spec"]["securityContext"]
    assert int(user) == security["runAsUser"] != 0
    assert int(group) == security["runAsGroup"] == security["fsGroup"] != 0
    assert security["runAsNonRoot"] is True


def test_what_the_image_is_built_from_is_in_its_context():
    ignored = (SOURCE_DIR / ".dockerignore").read_text().split()
    assert "*" in ignored
    root = (SOURCE_DIR / "CMakeLists.txt").read_text()
    folders = set(re.findall(r"add_subdirectory\((\w+)\)", root)) | {"cmake", "deploy"}
    assert folders <= {line[1:] for line in ignored if line.startswith("!")}
    for name, arguments in dockerfile():
        if name == "COPY" and not arguments.startswith("--from="):
            for source in arguments.split()[:-1]:
                assert (SOURCE_DIR / source).exists(), source


def test_images_have_versions():
    bases = [arguments for name, arguments in dockerfile() if name == "FROM"]
    images = [service["image"] for service in compose().values() if "build" not in service]
    assert bases and images
    for image in [base.split()[0] for base in bases] + images:
        assert re.search(r":([a-z]+-)?v?\d[\w.-]*$", image), image


@contextlib.contextmanager
def http_port(code):
    """A port whose every answer has this code."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def health(port):
    return subprocess.run([DEPLOY / "docker/healthcheck.sh", str(port)], capture_output=True,
                          timeout=DEADLINE_S, check=False).returncode


def test_the_health_check_is_true_only_of_a_ready_server(demo):
    assert health(demo.ports["http"]) == 0
    with http_port(503) as port:
        assert health(port) != 0
    assert health(port) != 0, "nobody listens there any more"


# ---- systemd


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin", str(bin_dir().resolve())))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True,
                              text=True, timeout=DEADLINE_S, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_finds_the_unit_little_exposed():
    report = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", UNIT],
                            capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout
    exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", report).group(1))
    assert exposure <= MAX_EXPOSURE
