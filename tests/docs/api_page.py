"""docs/reference/api.md, from proto/olmoe/v1 and its comments."""

import pathlib
import tempfile

import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

FILES = ["olmoe/v1/inference.proto", "olmoe/v1/admin.proto", "olmoe/v1/routing.proto"]
SERVICE, MESSAGE, ENUM = 6, 4, 5  # fields of FileDescriptorProto, for paths of comments
METHOD, FIELD, NESTED, VALUE, ENUM_IN_MESSAGE = 2, 2, 3, 2, 4
Field = descriptor_pb2.FieldDescriptorProto


def _descriptors(proto_dir):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "set"
        well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
        command = ["protoc", f"-I{proto_dir}", f"-I{well_known}", "--include_source_info",
                   f"--descriptor_set_out={out}", *FILES]
        if protoc.main(command) != 0:
            raise RuntimeError("protoc failed")
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
        return sorted(files, key=lambda file: FILES.index(file.name))


class _File:
    """A file with the comment of each of its parts."""

    def __init__(self, file):
        self.file = file
        self._comments = {}
        for location in file.source_code_info.location:
            text = location.leading_comments + location.trailing_comments
            if text.strip():
                self._comments[tuple(location.path)] = " ".join(text.split())

    def comment(self, *path):
        return self._comments.get(path, "")


def _cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def _type_name(field):
    if not field.type_name:
        return Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    name = field.type_name.removeprefix(".olmoe.v1.")
    if name != field.type_name:
        return f"[{name}](#{name.lower().replace('.', '')})"
    return field.type_name.removeprefix(".google.protobuf.").removeprefix(".")


def _field_type(field, message):
    words = [_type_name(field)]
    if field.label == Field.LABEL_REPEATED:
        words.insert(0, "repeated")
    elif field.proto3_optional:
        words.insert(0, "optional")
    elif field.HasField("oneof_index"):
        words.append(f"(one of `{message.oneof_decl[field.oneof_index].name}`)")
    return " ".join(words)


def _message(source, message, path, name):
    yield f"### {name}\n"
    comment = source.comment(*path)
    if comment:
        yield f"{_cell(comment)}\n"
    if message.field:
        yield "| field | type | |\n| --- | --- | --- |"
        for index, field in enumerate(message.field):
            yield (f"| `{field.name}` = {field.number} | {_field_type(field, message)} | "
                   f"{_cell(source.comment(*path, FIELD, index))} |")
        yield ""
    elif not comment:
        yield "It has no fields.\n"
    for index, nested in enumerate(message.nested_type):
        yield from _message(source, nested, (*path, NESTED, index), f"{name}.{nested.name}")
    for index, enum in enumerate(message.enum_type):
        yield from _enum(source, enum, (*path, ENUM_IN_MESSAGE, index), f"{name}.{enum.name}")


def _enum(source, enum, path, name):
    yield f"### {name}\n"
    if source.comment(*path):
        yield f"{_cell(source.comment(*path))}\n"
    yield "| value | |\n| --- | --- |"
    for index, value in enumerate(enum.value):
        yield (f"| `{value.name}` = {value.number} | "
               f"{_cell(source.comment(*path, VALUE, index))} |")
    yield ""


def _service(source, service, path):
    yield f"### {service.name}\n"
    if source.comment(*path):
        yield f"{_cell(source.comment(*path))}\n"
    yield "| method | request | reply | |\n| --- | --- | --- | --- |"
    for index, method in enumerate(service.method):
        request, reply = (
            ("stream of " if is_stream else "") + f"[{name}](#{name.lower()})"
            for is_stream, name in [
                (method.client_streaming, method.input_type.rsplit(".", 1)[-1]),
                (method.server_streaming, method.output_type.rsplit(".", 1)[-1])])
        yield (f"| `{method.name}` | {request} | {reply} | "
               f"{_cell(source.comment(*path, METHOD, index))} |")
    yield ""


def _file(source):
    yield f"## {source.file.name}\n"
    for index, service in enumerate(source.file.service):
        yield from _service(source, service, (SERVICE, index))
    for index, message in enumerate(source.file.message_type):
        yield from _message(source, message, (MESSAGE, index), message.name)
    for index, enum in enumerate(source.file.enum_type):
        yield from _enum(source, enum, (ENUM, index), enum.name)


def page(proto_dir):
    lines = [
        "# API\n",
        "The services of both gRPC ports and their messages, by the files of "
        "[proto/olmoe/v1](../../proto/olmoe/v1). Reflection and health are served too. Errors "
        "are in [errors.md](errors.md).\n",
    ]
    for file in _descriptors(proto_dir):
        lines.extend(_file(_File(file)))
    return "\n".join(lines).rstrip() + "\n"
