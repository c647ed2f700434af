"""The files of deploy/, read."""

import re
import tomllib

import yaml

from api import SOURCE_DIR

DEPLOY = SOURCE_DIR / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNIT = DEPLOY / "systemd/olmoe-server.service"
PORTS = {"listen": 50051, "admin-listen": 50052, "http-listen": 9464}


def dockerfile():
    """[(instruction, arguments)] of the Dockerfile."""
    text = (DEPLOY / "docker/Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def compose():
    return yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())["services"]


def config(folder):
    return tomllib.loads((DEPLOY / folder / "server.toml").read_text())


def unit():
    """{key: last value} of the unit."""
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


def manifests():
    """{(kind, name): object} of the base."""
    files = [KUBERNETES / "base" / name
             for name in kustomization("base")["resources"] if name.endswith(".yaml")]
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return {(item["kind"], item["metadata"]["name"]): item for item in documents}


def kustomization(folder):
    return yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())


def pod():
    return manifests()["StatefulSet", "olmoe-server"]["spec"]["template"]


def container():
    return pod()["spec"]["containers"][0]


def sidecar():
    """Envoy, in front of the container."""
    found, = pod()["spec"]["initContainers"]
    return found


def patches(component):
    """The JSON patches of a component."""
    return [step for patch in kustomization(f"components/{component}")["patches"]
            for step in yaml.safe_load(patch["patch"])]


def flags(words):
    """{flag: value} of --flag=value words, without dashes; "" for a flag alone."""
    split = (word.removeprefix("--").partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in split}


def seconds(text):
    assert re.fullmatch(r"\d+s", text), f"{text}: write it in seconds"
    return int(text[:-1])


def port_of(address):
    return int(address.rpartition(":")[2])
