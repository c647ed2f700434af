"""Generates olmoe/v1 from proto/ while the package is built; the rest is in pyproject.toml."""

import pathlib
import shutil

import grpc_tools
from grpc_tools import protoc
from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
# An sdist brings its own copy; a checkout has them at its root.
PROTO_FOLDERS = (HERE / "proto", HERE.parent.parent / "proto")


def proto_folder():
    for folder in PROTO_FOLDERS:
        if (folder / "olmoe/v1/routing.proto").exists():
            return folder
    raise SystemExit(
        f"olmoe: the API definitions olmoe/v1/*.proto are neither in {PROTO_FOLDERS[0]} nor in "
        f"{PROTO_FOLDERS[1]}: install from a whole checkout of the server "
        "(pip install ./client/python) or from an sdist made of one")


def generate(target):
    """Writes olmoe/v1/*_pb2.py, .pyi and *_pb2_grpc.py below `target`."""
    root = proto_folder()
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = sorted(str(path.relative_to(root)) for path in (root / "olmoe").rglob("*.proto"))
    arguments = ["protoc", f"-I{root}", f"-I{well_known}", f"--python_out={target}",
                 f"--pyi_out={target}", f"--grpc_python_out={target}", *files]
    if protoc.main(arguments) != 0:
        raise SystemExit(f"olmoe: protoc failed on {root}")


# At the root of site-packages, where Python reads it as it starts: src/_olmoe_lm_eval.py says why.
START = ("olmoe-lm-eval.pth", "import _olmoe_lm_eval\n")


class BuildWithProtos(build_py):
    def run(self):
        if self.editable_mode:
            super().run()
            generate(HERE / "src")
            return
        # What an earlier build left there and the sources no longer have would be packaged.
        shutil.rmtree(pathlib.Path(self.build_lib) / "olmoe", ignore_errors=True)
        super().run()
        generate(self.build_lib)
        (pathlib.Path(self.build_lib) / START[0]).write_text(START[1])


class SdistWithProtos(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        shutil.copytree(proto_folder(), pathlib.Path(base_dir) / "proto", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithProtos, "sdist": SdistWithProtos})
