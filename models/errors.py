"""What can be wrong in what the models are given.

```
ModelError
├── PolicyError         the policy file is wrong: the sentence names file, line and key
└── SessionFileError    a file of sessions cannot be read: the sentence names file and line
```
"""

from __future__ import annotations

from pathlib import Path


class ModelError(Exception):
    """Base of all errors whose message is meant for an operator."""


class PolicyError(ModelError):
    """A policy cannot be used. Operator action: correct the line and key that the message names."""


class SessionFileError(ModelError):
    """A file of sessions cannot be used. Operator action: correct the line that the message names, or the path."""

    @classmethod
    def unreadable(cls, path: Path, error: Exception) -> SessionFileError:
        """The file cannot be opened or decoded."""
        return cls(f"{path} cannot be read ({error}): name a text file of sessions, or one compressed as .gz")

    @classmethod
    def empty(cls, path: Path) -> SessionFileError:
        """There is no line in it."""
        return cls(f"{path} is empty: expected a session a line, or a table of SessionId, ItemId and Time")

    @classmethod
    def line(cls, path: Path, number: int, expected: str, came: str) -> SessionFileError:
        """A line is not what it should be."""
        return cls(f"{path}:{number}: expected {expected}, got {came}")
