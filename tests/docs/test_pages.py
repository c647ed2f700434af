"""What the pages say: generated ones are up to date, links lead somewhere, one version."""

import re
import subprocess
import tomllib

import pytest

import markdown
import reference
from reference import SOURCE_DIR
from server_process import bin_dir

PAGES = list(markdown.files(SOURCE_DIR))
RENEW = ("OLMOE_BIN_DIR=build/release/bin build/venv/bin/python tests/docs/reference.py "
         "writes it again")


def relative(path):
    return str(path.relative_to(SOURCE_DIR))


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_pages_are_up_to_date(name):
    page = reference.FOLDER / name
    assert page.read_text() == reference.PAGES[name](), f"{relative(page)} is out of date: {RENEW}"


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_links_lead_somewhere(path):
    for link in markdown.links(path.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{relative(path)} links to {link}"
        assert target.is_relative_to(SOURCE_DIR), f"{relative(path)} leaves the checkout: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in markdown.anchors(target.read_text()), f"{relative(path)}: {link}"


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_no_page_needs_another_folder_than_the_checkout(path):
    assert "../shared" not in path.read_text()


@pytest.mark.parametrize("name", ["README.md", "docs/claims.md"])
def test_what_shows_a_claim_exists(name):
    """Tests of CTest by their names, files by their paths."""
    files = bin_dir().parent.glob("tests/**/CTestTestfile.cmake")
    tests = {test for path in files for test in re.findall(r"add_test\(\W*(\w+)", path.read_text())}
    for word in re.findall(r"`([^`]+)`", (SOURCE_DIR / name).read_text()):
        if re.fullmatch(r"\w+_test", word):
            assert word in tests, f"{name}: {word}"
        elif re.fullmatch(r"(?:tests|deploy|docs|server|client)/[\w./-]+", word):
            assert (SOURCE_DIR / word).exists(), f"{name}: {word}"


def project_version():
    text = (SOURCE_DIR / "CMakeLists.txt").read_text()
    return re.search(r"^project\(olmoe VERSION ([0-9.]+)", text, re.MULTILINE)[1]


@pytest.mark.parametrize("program, prefix", [("olmoe-server", "olmoe-server "), ("olmoectl", "")])
def test_the_programs_have_the_version_of_the_project(program, prefix):
    done = subprocess.run([bin_dir() / program, "--version"], capture_output=True, text=True,
                          check=True, timeout=60)
    assert done.stdout == f"{prefix}{project_version()}\n"


def test_the_python_package_has_the_version_of_the_project():
    package = tomllib.loads((SOURCE_DIR / "client/python/pyproject.toml").read_text())
    assert package["project"]["version"] == project_version()


def test_kubernetes_takes_the_image_of_the_version():
    text = (SOURCE_DIR / "deploy/kubernetes/base/kustomization.yaml").read_text()
    assert f'newTag: "{project_version()}"' in text


def test_the_changelog_begins_with_the_version_of_the_project():
    text = (SOURCE_DIR / "CHANGELOG.md").read_text()
    assert re.search(r"^## ([0-9.]+)", text, re.MULTILINE)[1] == project_version()
