"""Checks of schemathesis, which loads them for test_openapi.py (SCHEMATHESIS_HOOKS)."""

import json
import re

import jsonschema_rs
import schemathesis

# What a schema cannot say of a body each of whose fields it allows: fields that go together only
# so, what the model's context has room for, and that 1.0 is no integer.
KNOWN_REFUSALS = re.compile(
    r"stream_options: is for streams|best_of: must be n|max_tokens: must be >= 1, is 0 \("
    r"|the prompt of \d+ tokens and \d+ new tokens exceed the context"
    r"|must be an integer from \S+ to \d+, is -?\d+\.0")


@schemathesis.check
def valid_data_is_taken(_, response, case):
    """positive_data_acceptance, but for the known refusals."""
    mode = case.meta.generation.mode if case.meta else None
    if mode != schemathesis.GenerationMode.POSITIVE or response.status_code != 400:
        return
    message = response.json()["error"]["message"]
    assert KNOWN_REFUSALS.search(message), f"refuses what the description allows: {message}"


@schemathesis.check
def events_are_chunks(_, response, case):
    """What is inside the events of a stream, of which a schema has the text alone."""
    if not response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        return
    *events, done, rest = response.content.decode().split("\n\n")
    assert events and done == "data: [DONE]" and rest == "", "a stream ends by [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    validator = jsonschema_rs.validator_for({
        "$ref": "#/components/schemas/CompletionChunk",
        "components": case.operation.schema.raw_schema["components"]})
    for chunk in chunks:
        validator.validate(chunk)
    assert "routing" in chunks[0] and "routing" in chunks[-1], "the stamp comes first and last"
