"""How kernels are compiled, and by what their machine code is cached."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import njit
from numba.core.caching import FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])


def cached_njit(*signature: str, **options: Any) -> Callable[[Function], Function]:
    """Compile a function as `numba.njit(*signature, **options)` does, and cache the machine code on disk.

    numba keys its cache by the date of the file that the function is in. Here the key also holds a hash of that file
    and of every file of the package that it imports, directly or not: machine code of an old rule is never served.
    """

    def compiled(function: Function) -> Function:
        dispatcher: Any = njit(**options)(function)
        dispatcher._cache = _SourceKeyedCache(function)  # type: ignore[no-untyped-call]  # noqa: SLF001
        if signature:
            dispatcher.compile(*signature)
            dispatcher.disable_compile()
        return dispatcher  # type: ignore[no-any-return]

    return compiled


def inline_njit(function: Function) -> Function:
    """Compile a helper of a kernel that only borrows its arrays: it makes none, returns none and keeps none.

    Reference counts are then superfluous, and numba is told to leave them out: the kernel passes dozens of arrays, in
    tuples, from one small function to the next, and counting them atomically took four fifths of its time. The helper
    is inlined into its caller and divides as numpy does. `_nrt` is an undocumented option of numba; without it the
    results are the same.
    """
    options: Any = {"_nrt": False, "forceinline": True, "error_model": "numpy"}
    compiled: Any = njit(**options)(function)
    return compiled  # type: ignore[no-any-return]


class _SourceKeyedCache(FunctionCache):
    """numba's cache on disk, keyed by the import closure of the kernel's module as well."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        module, file = self._py_func.__module__, Path(self._py_func.__code__.co_filename)
        key: tuple[Any, ...] = super()._index_key(sig, codegen)  # type: ignore[no-untyped-call]
        return (*key, closure_hash(module, file))


@cache
def closure_hash(module: str, file: Path) -> str:
    """SHA-256 of the sources of a module and of all modules of its top-level package that it imports."""
    root = file.parents[module.count(".")]
    closure, pending = set[Path](), [file]
    while pending:
        found = pending.pop()
        if found not in closure:
            closure.add(found)
            pending.extend(_imports(root, module.partition(".")[0], found))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(closure))).hexdigest()


@cache
def _imports(root: Path, package: str, file: Path) -> list[Path]:
    """Files of `package` that a file imports by absolute names, its own parents included."""
    names = set[str]()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    paths = [root.joinpath(*name.split(".")) for name in names if name.partition(".")[0] == package]
    files = [path.with_suffix(".py") for path in paths] + [path / "__init__.py" for path in paths]
    return [path for path in files if path.is_file()]
