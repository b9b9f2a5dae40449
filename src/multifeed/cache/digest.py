"""Digests of values, columns and code: equal if, and only if, what they stand for is the same."""

from __future__ import annotations

import builtins
import dis
import functools
import hashlib
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from multifeed.fields.rows import NDArray, Source

# Of BLAKE2b, and of what names a cache's folder.
DIGEST_BYTES = 16
# Rows of a column that are hashed at once: as many of few bytes, fewer where each is large.
_ROWS, _BYTES = 65_536, 16 * 2**20
# What a class has that says nothing of what it does.
_NOT_CODE = {
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__",
    "__static_attributes__", "__firstlineno__", "__annotate_func__", "__annotations_cache__",
    "__dataclass_fields__", "__dataclass_params__", "__match_args__", "__abstractmethods__", "_abc_impl",
    "__slotnames__",
}  # fmt: skip


class UnknownCodeError(Exception):
    """It cannot be told what a value does.

    Args:
        value: The value.
    """

    def __init__(self, value: object) -> None:
        super().__init__(type(value).__name__)
        self.value = value


def digest(value: object, version: str | None = None) -> bytes:
    """Return the digest of a declared value, the code of functions included.

    Args:
        value: Numbers, texts, arrays, containers, dataclasses, functions, classes and objects.
        version: What stands for the code of functions and the state of objects; None to look at them.

    Raises:
        UnknownCodeError: If a function refers to something that cannot be looked at.
    """
    digesting = _Digesting(version)
    digesting.add(value)
    return digesting.result()


class _Digesting:
    """One digest under way."""

    def __init__(self, version: str | None) -> None:
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._version = version
        # Functions, classes and objects that have been seen, and how many were before; they must stay
        # alive meanwhile. And the containers that are being looked into.
        self._seen: dict[int, tuple[int, object]] = {}
        self._open: list[int] = []

    def result(self) -> bytes:
        return self._hash.digest()

    def add(self, value: object) -> None:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | range):
            self._put(type(value).__name__, repr(value))
        elif isinstance(value, np.ndarray | np.generic):
            self._array(np.asarray(value))
        elif value is Ellipsis or value is NotImplemented:
            self._put("constant", repr(value))
        elif id(value) in self._open:
            self._put("inside", str(len(self._open) - self._open.index(id(value))))
        else:
            self._open.append(id(value))
            self._add_compound(value)
            self._open.pop()

    def _add_compound(self, value: object) -> None:
        if isinstance(value, Mapping) and type(value) in (dict, types.MappingProxyType):
            self._many("dict", [each for pair in value.items() for each in pair])
        elif type(value) in (tuple, list):
            self._many(type(value).__name__, cast("list[object]", value))
        elif isinstance(value, set | frozenset):
            # The order of a set is another in each process.
            self._put("set", repr(sorted(digest(each, self._version) for each in value)))
        elif isinstance(value, types.CodeType):
            self._code(value, {})
        elif is_dataclass(value) and not isinstance(value, type):
            named = [each.name for each in dataclass_fields(value) if each.compare]
            self._put("dataclass", _name_of(type(value)))
            self._many("fields", [(name, getattr(value, name)) for name in named])
        elif isinstance(value, types.ModuleType):
            self._library(value.__name__, value.__name__)
        elif self._version is not None:
            self._put("version", self._version)
        elif id(value) in self._seen:
            self._put("again", str(self._seen[id(value)][0]))
        else:
            self._seen[id(value)] = len(self._seen), value
            self._add_code(value)

    def _add_code(self, value: object) -> None:
        """Add what does something: a function, a class, an object that may be called."""
        if isinstance(value, types.MethodType):
            self._many("method", [value.__func__, value.__self__])
        elif isinstance(value, functools.partial):
            self._many("partial", [value.func, value.args, value.keywords])
        elif isinstance(value, staticmethod | classmethod):
            self._many(type(value).__name__, [value.__func__])
        elif isinstance(value, property):
            self._many("property", [value.fget, value.fset, value.fdel])
        elif _is_library(value):
            self._library(_module_of(value), _name_of(value))
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        else:
            self._object(value)

    def _put(self, kind: str, text: str | bytes) -> None:
        # With its length, since "ab" and "c" are not "a" and "bc".
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        self._hash.update(f"{kind}:{len(data)}:".encode())
        self._hash.update(data)

    def _many(self, kind: str, values: Iterable[object]) -> None:
        listed = list(values)
        self._put(kind, str(len(listed)))
        for each in listed:
            self.add(each)

    def _array(self, array: NDArray) -> None:
        self._put("array", f"{array.dtype.str} {array.shape}")
        if array.dtype.hasobject:
            self._many("objects", array.ravel().tolist())
        else:
            self._hash.update(np.ascontiguousarray(array).tobytes())

    def _library(self, module: str, name: str) -> None:
        """Add something that an installed package has: its name, and the version of the package."""
        package = sys.modules.get(module.partition(".")[0])
        self._put("library", f"{name} {getattr(package, '__version__', '')}")

    def _function(self, function: types.FunctionType) -> None:
        self._put("function", function.__name__)
        self._code(function.__code__, function.__globals__)
        self._many("defaults", [function.__defaults__, function.__kwdefaults__])
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:
                self._put("cell", "empty")

    def _code(self, code: types.CodeType, known: Mapping[str, Any]) -> None:
        self._put("code", code.co_code)
        flags = (code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags)
        self._put("names", repr((code.co_names, code.co_freevars, code.co_cellvars, flags)))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, known)
            else:
                self.add(constant)
        for name, value in _globals_of(code, known):
            self._put("global", name)
            self.add(value)

    def _class(self, kind: type) -> None:
        self._put("class", kind.__qualname__)
        self._many("bases", [base for base in kind.__bases__ if base is not object])
        for name in sorted(vars(kind).keys() - _NOT_CODE):
            value = vars(kind)[name]
            # Slots, and what a C type defines, have no code and no state.
            if not isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
                self._put("attribute", name)
                self.add(value)

    def _object(self, value: object) -> None:
        self.add(type(value))
        # As functools.lru_cache has it, which by itself tells no more than a name.
        self.add(getattr(value, "__wrapped__", None))
        try:
            made = value.__reduce_ex__(4)
        except Exception as error:
            raise UnknownCodeError(value) from error
        if isinstance(made, str):
            self._put("named", made)
        else:
            # How it is made anew, which pickle would call, and of what state; the rest are iterators.
            self._many("object", [*made[:3], *(list(each) for each in made[3:5] if each is not None)])


def _globals_of(code: types.CodeType, known: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return what a code refers to outside of itself; of a module, what it takes from it."""
    found: dict[str, Any] = {}
    name, value = "", None
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            name = str(step.argval)
            if name not in known and not hasattr(builtins, name):
                continue
            value = known.get(name, getattr(builtins, name, None))
        elif step.opname == "IMPORT_NAME":
            name = str(step.argval)
            value = sys.modules.get(name)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(value, types.ModuleType):
            name = f"{name}.{step.argval}"
            value = getattr(value, str(step.argval), None)
        else:
            if step.opname not in ("PUSH_NULL", "CACHE", "PRECALL", "NOP", "EXTENDED_ARG"):
                value = None
            continue
        found[name] = value
    return sorted(found.items())


def _module_of(value: object) -> str:
    owner = value if hasattr(value, "__module__") else type(value)
    return str(getattr(owner, "__module__", None) or type(getattr(value, "__self__", value)).__module__)


def _name_of(value: object) -> str:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return f"{_module_of(value)}.{name or type(value).__qualname__}"


def _is_library(value: object) -> bool:
    """Tell whether a function or class comes with Python or an installed package of a known version."""
    is_named = hasattr(value, "__qualname__") or hasattr(value, "__name__")
    if not is_named or not callable(value):
        return False
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType | type):
        # A method of an object has a state that its name does not tell.
        return False
    top = _module_of(value).partition(".")[0]
    if top in sys.stdlib_module_names:
        return top != "__main__"
    package = sys.modules.get(top)
    if top == "multifeed":
        return True
    file = getattr(package, "__file__", None) or ""
    is_installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return bool(is_installed) and hasattr(package, "__version__")


def digest_column(source: Source, name: str, into: Any) -> None:
    """Add the values of a column, in the order of the rows, whatever way they lie in memory.

    Args:
        source: The rows.
        name: The column.
        into: A hash, which is told bytes by ``update``.
    """
    column, index = source.columns[name], source.index
    if isinstance(column, np.ndarray):
        into.update(f"{column.dtype.str} {column.shape[1:]}".encode())
        at_once = max(1, min(_ROWS, _BYTES // max(1, column[:1].nbytes)))
        for start in range(0, len(source), at_once):
            part = (
                column[start : start + at_once]
                if index is None
                else column[index[start : start + at_once]]
            )
            into.update(np.ascontiguousarray(part).view(np.uint8) if part.size else b"")
        return
    at_once = max(1, min(_ROWS, _BYTES * max(1, len(column)) // max(1, column.nbytes)))
    for start in range(0, len(source), at_once):
        if index is None:
            part = column.slice(start, at_once)
        else:
            part = column.take(pa.array(index[start : start + at_once]))
        _digest_arrow(part.combine_chunks(), into)


def _digest_arrow(array: Any, into: Any) -> None:
    """Add an Arrow array; what lies below a null, or beside a slice, does not count."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks != 1 else array.chunk(0)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    is_null = np.packbits(np.asarray(array.is_null()))
    into.update(f"{_family(kind)} {len(array)}".encode())
    into.update(is_null)
    if _is_binary(kind):
        filled = pc.fill_null(array, b"" if "binary" in str(kind) else "") if array.null_count else array
        into.update(np.asarray(pc.binary_length(filled)).astype(np.int64))
        into.update(_content(filled))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        into.update(np.asarray(pc.fill_null(pc.list_value_length(array), -1)).astype(np.int64))
        # It leaves out what lies below nulls.
        _digest_arrow(array.flatten(), into)
    elif pa.types.is_primitive(kind) and not pa.types.is_temporal(kind):
        zero = pa.scalar(False if pa.types.is_boolean(kind) else 0, kind)
        filled = pc.fill_null(array, zero) if array.null_count else array
        into.update(np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)).view(np.uint8))
    else:
        into.update(repr(array.to_pylist()).encode("utf-8", "surrogatepass"))


def _is_binary(kind: pa.DataType) -> bool:
    types_ = pa.types
    return bool(
        types_.is_string(kind)
        or types_.is_large_string(kind)
        or types_.is_binary(kind)
        or types_.is_large_binary(kind)
    )


def _family(kind: pa.DataType) -> str:
    """Return the name of a type, one for those that hold the same values."""
    return str(kind).removeprefix("large_")


def _content(array: Any) -> memoryview | bytes:
    """Return the bytes of all texts of an array without nulls, one after the other."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return b""
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    places = np.frombuffer(offsets, np.int64 if wide else np.int32)
    first, last = places[array.offset], places[array.offset + len(array)]
    return memoryview(data)[int(first) : int(last)]


@functools.cache
def decoding_code() -> str:
    """Return the digest of the code of the fields, so that nobody must think of raising a number."""
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path in sorted((Path(__file__).parent.parent / "fields").glob("*.py")):
        found.update(path.name.encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def new_hash() -> Any:
    """Return a fast hash for what is long: 128 bits, which no accident makes equal."""
    return xxhash.xxh3_128()
