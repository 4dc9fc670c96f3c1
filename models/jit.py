"""How kernels are compiled, and by what their machine code is cached."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import njit, types
from numba.core import ir
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.typed_passes import NopythonTypeInference

Function = TypeVar("Function", bound=Callable[..., Any])


def cached_njit(*signature: str, **options: Any) -> Callable[[Function], Function]:
    """Compile a function as `numba.njit(*signature, **options)` does, and cache the machine code on disk.

    numba keys its cache by the date of the file that the function is in. Here the key is a hash of that file and of
    every file of its package and of this one that it imports, directly or not: machine code of an old rule is never
    served.
    """

    def compiled(function: Function) -> Function:
        dispatcher: Any = njit(**options)(function)
        dispatcher._cache = _SourceKeyedCache(function)  # noqa: SLF001
        if signature:
            dispatcher.compile(*signature)
            dispatcher.disable_compile()
        return dispatcher  # type: ignore[no-any-return]

    return compiled


def inline_njit(function: Function) -> Function:
    """Compile a helper of a kernel that allocates no array, returns none and keeps none.

    numba then need not count references: the kernel passes dozens of arrays, in tuples, between small functions, and
    counting them atomically took four fifths of its time. The helper is inlined into its caller and divides as numpy
    does. `_nrt` is an undocumented option of numba; without it the results are the same.
    """
    options: Any = {"_nrt": False, "forceinline": True, "error_model": "numpy"}
    return njit(**options)(function)  # type: ignore[no-any-return]


def forward_njit(function: Function) -> Function:
    """Compile as `inline_njit` does; an index of an array counts from the start only.

    numba otherwise asks of every signed index whether it counts from the end, which takes an eighth of the time of a
    kernel that looks up items by number. Here a negative index is undefined, as one beyond the end is. With
    `NUMBA_BOUNDSCHECK=1` both raise an `IndexError`.
    """
    options: Any = {
        "_nrt": False,
        "forceinline": True,
        "error_model": "numpy",
        "pipeline_class": _ForwardCompiler,
    }
    return njit(**options)(function)  # type: ignore[no-any-return]


def in_turn(helpers: Sequence[Function]) -> Function:
    """A helper that calls others with the same arguments, one after the other."""
    first, *others = helpers
    if not others:
        return first
    rest = in_turn(others)

    def both(*arguments: Any) -> None:
        first(*arguments)
        rest(*arguments)

    return forward_njit(both)  # type: ignore[return-value]


@register_pass(mutates_CFG=False, analysis_only=False)  # type: ignore[no-untyped-call]
class _ForwardIndexing(FunctionPass):
    """Has every index cast to an unsigned type, of which numba knows that it does not count from the end."""

    _name = "forward_indexing"

    def __init__(self) -> None:
        FunctionPass.__init__(self)  # type: ignore[no-untyped-call]

    def run_pass(self, state: Any) -> bool:
        for place, signature in list(state.calltypes.items()):
            if isinstance(place, ir.SetItem) or (isinstance(place, ir.Expr) and place.op == "getitem"):
                held, index, *value = signature.args
                if isinstance(held, types.Array):
                    del state.calltypes[place]  # no item may be set twice
                    state.calltypes[place] = signature.replace(args=(held, _unsigned(index), *value))
        return True


def _unsigned(index: Any) -> Any:
    """The unsigned type of an index, or of several."""
    if isinstance(index, types.BaseTuple):
        return types.Tuple(list(map(_unsigned, index)))  # type: ignore[no-untyped-call, call-overload]
    return types.uintp if isinstance(index, types.Integer) else index


class _ForwardCompiler(CompilerBase):
    """Compiles as usual, with `_ForwardIndexing`."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)  # type: ignore[no-untyped-call]
        passes.add_pass_after(_ForwardIndexing, NopythonTypeInference)
        passes.finalize()
        return [passes]


class _IndexFile(IndexDataCacheFile):
    """An index of machine code by types of arguments; where one of these cannot be imported, it counts as empty.

    A program may have called a kernel with tuples of its own, such as a test with those of its module.
    """

    def _load_index(self) -> Any:
        try:
            return super()._load_index()  # type: ignore[no-untyped-call]
        except (ImportError, AttributeError):
            return {}


class _SourceKeyedCache(FunctionCache):
    """numba's cache on disk, in files named by the import closure of the kernel's module.

    The hash has to be in the name: an index also holds types of arguments, and cannot be read once one was renamed.
    """

    def __init__(self, function: Any) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        sources = closure_hash(function.__module__, Path(function.__code__.co_filename))
        name = f"{self._impl.filename_base}.{sources[:16]}"
        self._cache_file = _IndexFile(self._cache_path, name, sources)  # type: ignore[no-untyped-call]


@cache
def closure_hash(module: str, file: Path) -> str:
    """SHA-256 of the sources of a module and of all that it imports of its top-level package and of this one."""
    root = file.parents[module.count(".")]
    packages = frozenset(name.partition(".")[0] for name in (module, __name__))
    closure, pending = set[Path](), [file]
    while pending:
        found = pending.pop()
        if found not in closure:
            closure.add(found)
            pending.extend(_imports(root, packages, found))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(closure))).hexdigest()


@cache
def _imports(root: Path, packages: frozenset[str], file: Path) -> list[Path]:
    """Files of some packages that a file imports by absolute names, its own parents included."""
    names = set[str]()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    paths = [root.joinpath(*name.split(".")) for name in names if name.partition(".")[0] in packages]
    files = [path.with_suffix(".py") for path in paths] + [path / "__init__.py" for path in paths]
    return [path for path in files if path.is_file()]
