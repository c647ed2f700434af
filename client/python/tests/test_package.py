"""The package itself: types, examples, README, what pip builds of it."""

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata

import pytest

import olmoe
from server_process import DEADLINE_S

SOURCE = pathlib.Path(__file__).resolve().parents[1]


def run(*command, **options):
    """A finished process, which must succeed."""
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mypy(folder, *arguments):
    return run("-m", "mypy", "--strict", "--cache-dir", folder / "cache", *arguments, cwd=folder)


def test_the_package_is_strictly_typed(tmp_path):
    # A copy, because mypy is silent about installed packages.
    shutil.copytree(pathlib.Path(olmoe.__file__).parent, tmp_path / "olmoe")
    assert "no issues" in mypy(tmp_path, "--config-file", SOURCE / "pyproject.toml", "-p", "olmoe")


@pytest.mark.parametrize("name", ["quickstart.py", "sweep.py"])
def test_the_examples_are_strictly_typed(tmp_path, name):
    assert "no issues" in mypy(tmp_path, "--config-file=", SOURCE / "examples" / name)


def test_a_wrong_use_is_told_by_the_types(tmp_path):
    (tmp_path / "wrong.py").write_text(
        "import olmoe\n"
        "client = olmoe.Client(tokn='x')\n"
        "client.generate('a', temprature=0)\n"
        "client.generate('a').text + 1\n"
        "olmoe.TopK(k='4')\n"
        "olmoe.Admin().patch(4)\n")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--config-file=",
                           "--cache-dir", tmp_path / "cache", "wrong.py"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert [int(line.split(":")[1]) for line in done.stdout.splitlines()
            if ": error:" in line] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("extra,packages", [
    ("analysis", ["matplotlib", "numpy", "pandas"]), ("chat", ["jinja2"]),
    ("lm-eval", ["jinja2", "lm-eval", "numpy"])])
def test_an_extra_brings_what_its_part_needs(extra, packages):
    needs = [need for need in metadata.requires("olmoe") if f'extra == "{extra}"' in need]
    assert sorted(re.match(r"[\w-]+", need)[0] for need in needs) == packages


def ports(server):
    return "--server", server.address(), "--admin", server.address("admin")


def test_the_quickstart_shows_the_patch_and_its_end(server):
    shown = run(SOURCE / "examples/quickstart.py", *ports(server))
    assert "as before:      True" in shown
    assert "3840 and 480" in shown


@pytest.mark.parametrize("flags", [(), ("--inline",)], ids=["patched", "inline"])
def test_the_sweep_measures_each_policy(server, tmp_path, flags):
    text = tmp_path / "text.txt"
    # The second is longer than the context: its last window runs tokens again that are scored.
    text.write_text("Once upon a time there was a king.\n\n" + "The little rabbit ran home. " * 400)
    shown = run(SOURCE / "examples/sweep.py", text, "--policy", "native", "--policy", "top-k=1",
                *flags, *ports(server)).splitlines()
    rows = [line.split() for line in shown[1:]]
    assert [(row[0], row[3]) for row in rows] == [("native", "8.00"), ("top-k=1", "1.00")]
    assert float(rows[0][2]) < float(rows[1][2])


def test_the_five_minutes_of_the_readme_run(server, tmp_path):
    code = re.search(r"```python\n(.*?)```", (SOURCE / "README.md").read_text(), re.DOTALL)[1]
    script = tmp_path / "readme.py"
    script.write_text(code.replace("127.0.0.1:50051", server.address())
                      .replace("127.0.0.1:50052", server.address("admin")))
    shown = run(script)
    assert "control" in shown and "bh" in shown
    with olmoe.Admin(server.address("admin"), timeout=DEADLINE_S) as admin:
        admin.delete_calibration("stories")


def test_everything_that_is_exported_has_a_docstring():
    undocumented = [name for name in olmoe.__all__
                    if not (getattr(olmoe, name).__doc__ or "").strip()
                    and isinstance(getattr(olmoe, name), type)]
    assert not undocumented
    assert len(set(olmoe.__all__)) == len(olmoe.__all__)


def test_the_version_is_that_of_the_project():
    text = (SOURCE.parents[1] / "CMakeLists.txt").read_text()
    assert f"project(olmoe VERSION {olmoe.__version__} " in text


# ---- What pip builds. Offline: with the tools of this environment.

@pytest.fixture(scope="module", name="checkout")
def _checkout(tmp_path_factory):
    """The parts of a checkout that a build reads."""
    folder = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", "*_pb2*")
    shutil.copytree(SOURCE, folder / "client/python", ignore=ignore)
    shutil.copytree(SOURCE.parents[1] / "proto", folder / "proto")
    return folder


def build_wheel(source, target):
    run("-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-build-isolation",
        "--no-deps", "--wheel-dir", target, source)
    wheel, = target.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


GENERATED = {f"olmoe/v1/{name}_pb2{suffix}" for name in ("admin", "inference", "routing")
             for suffix in (".py", ".pyi", "_grpc.py")}


def test_a_wheel_has_the_messages_and_nothing_stale(checkout, tmp_path):
    stale = checkout / "client/python/build/lib/olmoe/gone.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    names = build_wheel(checkout / "client/python", tmp_path)
    assert GENERATED | {"olmoe/py.typed", "olmoe/__init__.py", "olmoe-lm-eval.pth",
                        "_olmoe_lm_eval.py"} <= names
    assert "olmoe/gone.py" not in names
    assert not [name for name in names if name.startswith(("google/", "tests/", "examples/"))]
    assert not list((checkout / "client/python/src").rglob("*_pb2*"))


def test_an_sdist_builds_without_the_checkout(checkout, tmp_path):
    run("-c", f"import setuptools.build_meta as b; b.build_sdist({str(tmp_path)!r})",
        cwd=checkout / "client/python")
    sdist, = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source, = (path for path in tmp_path.iterdir() if path.is_dir())
    assert build_wheel(source, tmp_path / "wheel") >= GENERATED | {"olmoe-lm-eval.pth",
                                                                   "_olmoe_lm_eval.py"}


def test_a_build_without_the_definitions_says_where_they_belong(checkout, tmp_path):
    shutil.copytree(checkout / "client/python", tmp_path / "alone/client/python")
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-build-isolation",
                           "--no-deps", "--wheel-dir", tmp_path, tmp_path / "alone/client/python"],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode != 0
    assert "install from a whole checkout of the server" in done.stdout + done.stderr
