"""The little XML that S3 answers with, read without anything that a document can do harm by."""

from __future__ import annotations

from typing import Final
from xml.parsers import expat

_DEEPEST: Final = 8


class XmlError(ValueError):
    """An answer is not XML as S3 writes it."""


class Document:
    """The texts of an answer: those below its root, and those of each repeated element."""

    def __init__(self, body: bytes, repeated: str = "") -> None:
        self.texts: dict[str, str] = {}
        self.entries: list[dict[str, str]] = []
        self._repeated = repeated
        self._path: list[str] = []
        self._said: list[str] = []
        parser = expat.ParserCreate("UTF-8")
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._said.append
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise XmlError(f"the answer is not XML: {error}") from None

    def _start(self, name: str, _: object) -> None:
        if len(self._path) >= _DEEPEST:
            raise XmlError("the answer is nested deeper than S3 does it")
        self._path.append(name)
        self._said.clear()
        if self._path[1:] == [self._repeated]:
            self.entries.append({})

    def _end(self, name: str) -> None:
        text = "".join(self._said)
        match self._path[1:]:
            case [only] if only != self._repeated:
                self.texts[only] = text
            case [first, second] if first == self._repeated:
                self.entries[-1][second] = text
        self._path.pop()
        self._said.clear()


def _refuse(*_: object) -> None:
    raise XmlError("the answer declares a document type, which S3 does not")
