"""The stubs of proto/, generated when this module is imported, into a folder that goes
with the process: the tests use what any gRPC user gets from the .proto files."""

import atexit
import pathlib
import shutil
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[2]


def _generate():
    folder = tempfile.mkdtemp(prefix="olmoe-stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = SOURCE_DIR / "proto"
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.proto"))
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    command = ["protoc", f"-I{root}", f"-I{well_known}", f"--python_out={folder}",
               f"--grpc_python_out={folder}", *files]
    if protoc.main(command) != 0:
        raise RuntimeError("protoc failed")
    # Found before the package "olmoe" of client/python, which may be installed beside it.
    (pathlib.Path(folder) / "olmoe/__init__.py").touch()
    sys.path.insert(0, folder)


_generate()

# google is a namespace package: the generated google.rpc joins the installed google.protobuf.
from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from olmoe.v1 import admin_pb2 as admin  # noqa: E402
from olmoe.v1 import admin_pb2_grpc as admin_grpc  # noqa: E402
from olmoe.v1 import inference_pb2 as inference  # noqa: E402
from olmoe.v1 import inference_pb2_grpc as inference_grpc  # noqa: E402
from olmoe.v1 import routing_pb2 as routing  # noqa: E402

__all__ = ["admin", "admin_grpc", "inference", "inference_grpc", "routing"]


def details(error: grpc.RpcError):
    """The google.rpc details of a failed call, by message name."""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    found = {}
    if packed is None:
        return found
    status = status_pb2.Status.FromString(packed)
    assert status.code == error.code().value[0]
    for any_detail in status.details:
        name = any_detail.TypeName().rsplit(".", 1)[-1]
        message = getattr(error_details_pb2, name)()
        assert any_detail.Unpack(message)
        found[name] = message
    return found


def violated_fields(error: grpc.RpcError):
    """The fields that BadRequest names, in order."""
    bad_request = details(error).get("BadRequest")
    return [v.field for v in bad_request.field_violations] if bad_request else []


def tokens_request(ids, max_new_tokens, **fields):
    """A greedy request on token ids, which needs no tokenizer."""
    request = inference.GenerateRequest(max_new_tokens=max_new_tokens, ignore_eos=True, **fields)
    request.tokens.ids.extend(ids)
    if not request.HasField("sampling"):
        request.sampling.temperature = 0
    return request


def top_k_policy(k, policy_id="patched", weight_mode=routing.WEIGHT_MODE_NATIVE, layers=()):
    """TOP_K on all layers, or on some."""
    rule = routing.Rule(top_k=routing.TopK(k=k), weight_mode=weight_mode)
    policy = routing.RoutingPolicy(policy_id=policy_id)
    if layers:
        policy.layer_overrides.add(layers=layers, apply=rule)
    else:
        policy.apply.CopyFrom(rule)
    return policy
