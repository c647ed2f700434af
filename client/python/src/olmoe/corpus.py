"""What `evaluate` reads: texts, or multiple-choice questions, in the files of `olmoectl eval`."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Self

from olmoe import _check

_SEPARATOR = "<|endoftext|>"
_MAX_CONTINUATIONS = 256


@dataclasses.dataclass(frozen=True)
class Question(_check.Fields):
    """A context, 2..256 ways to go on, and which of them is right."""

    _checks = {"tuple[str, ...]": lambda name, value: tuple(_check.texts(name, value))}

    context: str
    continuations: tuple[str, ...]
    label: int

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.continuations)
        if not 2 <= count <= _MAX_CONTINUATIONS or not all(self.continuations):
            raise ValueError(f"Question: continuations must be 2..{_MAX_CONTINUATIONS} texts that "
                             f"are not empty, has {count}")
        if self.label >= count:
            raise ValueError(f"Question: label must be 0..{count - 1}, is {self.label}")

    @classmethod
    def parse(cls, line: str) -> Self:
        """Of {"context": ..., "continuations": [...], "label": ...}; ValueError where it is not."""
        _check.text("line", line)
        try:
            value = json.loads(line)
            return cls(value["context"], value["continuations"], value["label"])
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from None
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error)) from None


def _question(name: str, value: object) -> Question:
    return _check.instance(name, value, Question, "a Question")


@dataclasses.dataclass(frozen=True)
class Corpus(_check.Fields):
    """One data set: documents, or questions. ValueError where it has neither or both."""

    _checks = {
        "tuple[str, ...]": lambda name, value: tuple(_check.texts(name, value)),
        "tuple[Question, ...]": lambda name, value: tuple(
            _check.items(name, value, _question, "Questions"))}

    name: str
    documents: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.documents) == bool(self.questions):
            raise ValueError(f"Corpus: {self.name}: documents or questions: one of the two")

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, lines: bool = False) -> Self:
        """A file, as `olmoectl eval --data` reads it.

        Questions of a .jsonl, or of one whose first line is a question; otherwise documents,
        separated by lines <|endoftext|>.
        lines: every line of a text is a document.
        OSError where it cannot be read; ValueError, which names it, where it is not UTF-8, holds
        nothing, or a line is no question.
        """
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path must be a path, not {path!r}")
        file = pathlib.Path(path)
        _check.boolean("lines", lines)
        try:
            text = file.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}: not UTF-8 from byte {error.start} on") from None
        try:
            if file.suffix.lower() in (".jsonl", ".ndjson") or _begins_with_question(text):
                return cls(file.name, questions=_questions(text))
            return cls(file.name, documents=_documents(text, lines))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None


def _begins_with_question(text: str) -> bool:
    try:
        Question.parse(text.partition("\n")[0])
    except ValueError:
        return False
    return True


def _questions(text: str) -> tuple[Question, ...]:
    questions = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.removesuffix("\r").strip(" \t"):
            continue
        try:
            questions.append(Question.parse(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if not questions:
        raise ValueError("holds nothing")
    return tuple(questions)


def _documents(text: str, lines: bool) -> tuple[str, ...]:
    """Line ends around documents are not part of them; empty ones are left out."""
    parts: list[list[str]] = [[]]
    for line in text.split("\n"):
        if lines:
            parts.append([line])
        elif line.removesuffix("\r") == _SEPARATOR:
            parts.append([])
        else:
            parts[-1].append(line)
    documents = [document for part in parts if (document := "\n".join(part).strip("\r\n"))]
    if not documents:
        raise ValueError("holds nothing")
    return tuple(documents)
