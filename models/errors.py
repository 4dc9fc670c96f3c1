"""Errors of what the models are given."""

from __future__ import annotations

from pathlib import Path


class ModelError(Exception):
    """Base of all errors whose message is meant for an operator."""


class PolicyError(ModelError):
    """A policy cannot be used. Operator action: correct the line and key that the message names."""


class SessionFileError(ModelError):
    """A file of sessions cannot be used. Operator action: correct the line or path that the message names."""

    @classmethod
    def unreadable(cls, path: Path, error: Exception) -> SessionFileError:
        """The file cannot be opened or decoded."""
        return cls(f"{path} cannot be read ({error}): name a text file of sessions, or one compressed as .gz")

    @classmethod
    def empty(cls, path: Path) -> SessionFileError:
        """The file has no line."""
        return cls(f"{path} is empty: expected a session a line, or a table of SessionId, ItemId and Time")

    @classmethod
    def line(cls, path: Path, number: int, expected: str, came: str) -> SessionFileError:
        """A line is not what it should be."""
        return cls(f"{path}:{number}: expected {expected}, got {came}")


class PackageMissingError(ModelError):
    """A method needs a package that is missing. Operator action: install the extra that is named."""

    @classmethod
    def of(cls, what: str, package: str, extra: str) -> PackageMissingError:
        """An extra brings the package."""
        return cls(
            f"{what}: {package} is not installed: pip install 'crosscurrent[{extra}]', or choose other --methods"
        )


class SnapshotError(ModelError):
    """A snapshot cannot be made or used; a worker keeps the one that it has."""


class SnapshotShapeError(SnapshotError):
    """A field or an array of a snapshot is not what it must be.

    Operator action: let the trainer make another, or `crosscurrent models rollback` to an earlier one.
    """

    @classmethod
    def of(cls, where: str, path: str, expected: str, came: str) -> SnapshotShapeError:
        """A field is wrong."""
        return cls(f"{where}: `{path}` must be {expected}, got {came}")

    @classmethod
    def array(cls, where: str, name: str, expected: str, came: str) -> SnapshotShapeError:
        """An array is wrong."""
        return cls(f"{where}: array `{name}` must be {expected}, got {came}")


class SnapshotFormatError(SnapshotError):
    """A snapshot was made by code of another version.

    Operator action: run trainer and workers of one version; until then `crosscurrent models rollback` to an older one.
    """

    @classmethod
    def of(cls, where: str, expected: str, came: str) -> SnapshotFormatError:
        """Other code made it than reads it."""
        return cls(f"{where} has another form: expected {expected}, got {came}: run trainer and workers of one version")
