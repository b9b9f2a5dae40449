"""Digests of values, columns and code: equal only if what they stand for is the same.

It is an allow-list: what is not proven to be covered raises `UnknownCodeError`. Proven are

- plain values: numbers, texts, bytes, containers and slices of exactly these types, arrays and dtypes;
- what a library has: a function without a closure, a class, a builtin or a ufunc that is found in its
  module under its own name, where that module lies with Python or in site-packages and has a version.
  Its name and that version stand for it;
- other functions: their code, defaults, closure, attributes, and each global that their code names. Of a
  module that it names, it must take attributes at once (``module.helper``), and these are looked at;
- other classes: their name, bases, metaclass and attributes;
- objects: their class and their state. Of a class in Python that is all of its attributes and slots,
  whatever pickle would leave out; of a library's class, how pickle makes it anew, and its attributes.

Refused are modules of one's own as values or imported within a function; subclasses of arrays; what has
state that only C sees, or that pickle does not take; and what looks names up while it runs, as ``eval``
and ``globals`` do. Not looked at are annotations, type parameters, and files that a function reads by
itself.

With a version, that stands for all that would be refused, and for the globals of functions and the
attributes of classes; names, code, defaults, closures and state are looked at all the same.
"""

from __future__ import annotations

import builtins
import copyreg
import dis
import enum
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import pickle
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
# What a class has that says nothing of what it does, or is looked at in another way.
_NOT_CODE = {
    "__module__", "__qualname__", "__dict__", "__weakref__", "__annotations__", "__slotnames__",
    "__static_attributes__", "__firstlineno__", "__annotate_func__", "__annotations_cache__",
    "__dataclass_fields__", "__dataclass_params__", "__abstractmethods__", "_abc_impl",
    "__orig_bases__", "__parameters__", "__type_params__",
}  # fmt: skip
_PLAIN = (bool, int, float, complex, str, bytes, range, type(None), type(Ellipsis), type(NotImplemented))
# What a subclass of these holds beside its attributes is told by their own methods.
_CONTENT: dict[type, Any] = {
    int: int.__repr__,
    float: float.__repr__,
    complex: complex.__repr__,
    str: lambda value: str.__getitem__(value, slice(None)),
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    tuple: lambda value: list(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    dict: lambda value: list(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: set(frozenset.__iter__(value)),
}
# What looks names up while it runs; as values, and as attributes that code names.
_DYNAMIC: tuple[object, ...] = (
    eval, exec, globals, __import__, importlib.import_module, importlib.reload, sys._getframe,
    inspect.currentframe, inspect.stack, pickle.load, pickle.loads,
)  # fmt: skip
_DYNAMIC_NAMES = {
    "__globals__", "__builtins__", "__subclasses__", "__annotations__", "__code__", "f_globals",
    "f_back", "f_locals", "gi_frame", "tb_frame", "import_module",
}  # fmt: skip
# The types of functions in C that are known to have no state; a cython function is no instance of a type
# that could be named.
_COMPILED = {
    "builtin_function_or_method", "method_descriptor", "wrapper_descriptor", "classmethod_descriptor",
    "cython_function_or_method", "fused_cython_function", "_ArrayFunctionDispatcher", "ufunc",
    "nb_func", "nb_method",
}  # fmt: skip
_STDLIB = os.path.realpath(os.path.dirname(os.__file__))
_OWN = os.path.realpath(Path(__file__).parent.parent)


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
        version: What stands for whatever cannot be looked at; None to refuse it.

    Raises:
        UnknownCodeError: If a function refers to something that cannot be looked at.
    """
    digesting = _Digesting(version)
    try:
        digesting.add(value)
    except RecursionError as error:
        raise UnknownCodeError(value) from error
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
        if version is not None:
            self._put("version", version)

    def result(self) -> bytes:
        return self._hash.digest()

    def add(self, value: object) -> None:
        if type(value) in _PLAIN:
            self._put(type(value).__name__, repr(value))
        elif isinstance(value, np.dtype):
            self._dtype(value)
        elif id(value) in self._open:
            self._put("inside", str(len(self._open) - self._open.index(id(value))))
        else:
            self._open.append(id(value))
            self._add_compound(value)
            self._open.pop()

    def _add_compound(self, value: object) -> None:
        kind = type(value)
        if kind in (dict, types.MappingProxyType):
            pairs = cast("Mapping[object, object]", value).items()
            self._many(kind.__name__, [each for pair in pairs for each in pair])
        elif kind in (tuple, list):
            self._many(kind.__name__, cast("list[object]", value))
        elif kind is slice:
            cut = cast(slice, value)
            self._many("slice", [cut.start, cut.stop, cut.step])
        elif kind in (set, frozenset):
            # The order of a set is another in each process.
            found = sorted(digest(each, self._version) for each in cast("set[object]", value))
            self._put(kind.__name__, repr(found))
        elif isinstance(value, np.ndarray | np.generic):
            self._array(value)
        elif isinstance(value, types.CodeType):
            self._code(value, {})
        elif isinstance(value, types.ModuleType):
            version = _library_version(value.__name__)
            if version is None or sys.modules.get(value.__name__) is not value:
                self._refuse(value)
            else:
                self._put("module", f"{value.__name__} {version}")
        elif id(value) in self._seen:
            self._put("again", str(self._seen[id(value)][0]))
        else:
            self._seen[id(value)] = len(self._seen), value
            self._add_code(value)

    def _add_code(self, value: object) -> None:
        """Add what does something: a function, a class, an object that may be called."""
        kind = type(value)
        library = _library_name(value)
        if any(value is each for each in _DYNAMIC):
            self._refuse(value)
        elif library is not None:
            self._put("library", library)
        elif isinstance(value, types.MethodType):
            self._many("method", [value.__func__, value.__self__])
        elif kind is functools.partial:
            partial = cast("functools.partial[object]", value)
            self._many("partial", [partial.func, partial.args, partial.keywords, vars(partial)])
        elif kind is functools._lru_cache_wrapper:
            self._many("lru_cache", [vars(value)])
        elif kind is functools.cached_property:
            self._many("cached_property", [cast(Any, value).func])
        elif kind is np.vectorize:
            # Its other attributes are filled while it is used.
            names = ("pyfunc", "otypes", "signature", "excluded", "cache")
            self._many("vectorize", [vars(value).get(name) for name in names])
        elif kind in (staticmethod, classmethod):
            self._many(kind.__name__, [cast(Any, value).__func__])
        elif kind is property:
            found = cast(property, value)
            self._many("property", [found.fget, found.fset, found.fdel])
        elif isinstance(value, types.BuiltinMethodType | types.MethodWrapperType):
            self._bound(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, enum.Enum):
            state = {name: each for name, each in vars(value).items() if name != "__objclass__"}
            self._many("member", [kind, value._name_, state])
        else:
            self._object(value)

    def _refuse(self, value: object) -> None:
        if self._version is None:
            raise UnknownCodeError(value)
        self._put("version", f"{type(value).__qualname__} {self._version}")

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

    def _dtype(self, dtype: np.dtype[Any]) -> None:
        self._put("dtype", f"{dtype.str} {dtype.itemsize} {dtype.isalignedstruct}")
        if dtype.metadata or dtype.kind not in "biufcmMSUVO":
            self._refuse(dtype)
        elif dtype.subdtype is not None:
            self._many("items", [*dtype.subdtype])
        elif dtype.fields is not None:
            self._many("names", [(name, *dtype.fields[name]) for name in dtype.names or ()])
        else:
            # Those of packages other than NumPy may have one `str` in common.
            self.add(dtype.type)

    def _array(self, array: NDArray | np.generic) -> None:
        if not isinstance(array, np.generic) and type(array) not in (np.ndarray, np.memmap):
            self._refuse(array)
            return
        found = np.asarray(array)
        # A sum adds up in the order in which values lie.
        self._put(type(array).__name__, f"{found.shape} {found.strides}")
        self._dtype(found.dtype)
        if found.dtype.hasobject:
            if found.dtype.fields is not None or found.dtype.subdtype is not None:
                self._refuse(array)
            else:
                self._many("objects", found.ravel().tolist())
        else:
            self._hash.update(np.ascontiguousarray(found).tobytes())

    def _bound(self, value: Any) -> None:
        """Add a method in C of an object: its name, and the object, whose type tells what it does."""
        owner = value.__self__
        if owner is None or isinstance(owner, types.ModuleType):
            self._refuse(value)
        else:
            self._many("bound", [value.__name__, owner])

    def _function(self, function: types.FunctionType) -> None:
        self._put("function", function.__name__ if self._version is None else function.__qualname__)
        self._code(function.__code__, function.__globals__)
        self._many("defaults", [function.__defaults__, function.__kwdefaults__, vars(function)])
        self._put("closure", str(len(function.__closure__ or ())))
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:
                self._put("cell", "empty")

    def _code(self, code: types.CodeType, known: Mapping[str, Any]) -> None:
        self._put("code", code.co_code)
        self._put("exceptions", code.co_exceptiontable)
        counts = (code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self._put("names", repr((counts, names)))
        self._put("constants", str(len(code.co_consts)))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, known)
            else:
                self.add(constant)
        if self._version is None:
            if _DYNAMIC_NAMES.intersection(code.co_names):
                self._refuse(code)
            for name, value in _globals_of(code, known):
                self._put("global", name)
                self.add(value)

    def _class(self, kind: type) -> None:
        self._put("class", kind.__qualname__)
        if self._version is not None:
            return
        if type(kind) is not type:
            self._many("metaclass", [type(kind)])
        self._many("bases", kind.__bases__)
        for name in sorted(vars(kind).keys() - _NOT_CODE):
            value = vars(kind)[name]
            # Slots have no code and no state.
            if not isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
                self._put("attribute", name)
                self.add(value)
        if "__dataclass_fields__" in vars(kind):
            # What they say of a field, but for its type.
            told = ("name", "default", "default_factory", "init", "repr", "hash", "compare", "kw_only")
            for each in dataclass_fields(cast(Any, kind)):
                self._many("field", [*(getattr(each, name) for name in told), each.metadata])
            self._put("params", repr(vars(kind)["__dataclass_params__"]))

    def _object(self, value: object) -> None:
        kind = type(value)
        library = _library_name(kind)
        if library is None and any(
            type(each) is types.WrapperDescriptorType for each in vars(kind).values()
        ):
            # Made in C, and nobody knows where.
            self._refuse(value)
            return
        self.add(kind)
        if library is None:
            self._state(value)
        elif library.startswith("multifeed.") and is_dataclass(value):
            # Whose authors say by `compare` what counts.
            named = [each.name for each in dataclass_fields(value) if each.compare]
            self._many("fields", [(name, getattr(value, name)) for name in named])
        else:
            self._made_anew(value)

    def _state(self, value: object) -> None:
        """Add all attributes and slots of an object, and what a plain type that it inherits holds."""
        kind = type(value)
        base = next((each for each in kind.__mro__ if each in _CONTENT), object)
        slots = [each for owner in kind.__mro__ if "__slots__" in vars(owner) for each in _slots(owner)]
        # As `object.__reduce_ex__` reckons: beyond these, there is something that only C sees.
        has_dict = kind.__dictoffset__ > 0 or (kind.__dictoffset__ < 0 and base.__itemsize__ > 0)
        pointers = len(slots) + has_dict + (kind.__weakrefoffset__ > 0)
        room = tuple.__itemsize__ * pointers
        if kind.__basicsize__ > base.__basicsize__ + room or (kind.__itemsize__ and base is object):
            self._refuse(value)
            return
        if base is not object:
            self._many("content", [_CONTENT[base](value)])
        held = [(each.__name__, each.__get__(value)) for each in slots if _is_set(each, value)]
        attributes = getattr(value, "__dict__", {})
        if type(attributes) is not dict:
            self._refuse(value)
            return
        self._many("state", [attributes, held])

    def _made_anew(self, value: object) -> None:
        """Add how pickle would make an object of a library."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            is_known = reduce is not None and _library_name(reduce) is not None
            made = reduce(value) if reduce is not None and is_known else value.__reduce_ex__(4)
            if isinstance(made, str) or len(made) > 5:
                raise UnknownCodeError(value)
            # How it is called, and of what state; the rest are iterators.
            parts = [*made[:3], *(list(each) for each in made[3:5] if each is not None)]
        except Exception:
            self._refuse(value)
            return
        self._many("object", [*parts, getattr(value, "__dict__", None)])


def _slots(owner: type) -> list[Any]:
    return [each for each in vars(owner).values() if isinstance(each, types.MemberDescriptorType)]


def _is_set(slot: Any, value: object) -> bool:
    try:
        slot.__get__(value)
    except AttributeError:
        return False
    return True


class _Missing:
    """Stands for a name that there is not."""


def _globals_of(code: types.CodeType, known: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return what a code refers to outside of itself; of a module, what it takes from it."""
    found: dict[str, Any] = {}
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "NOP")]
    for place, step in enumerate(steps):
        name = str(step.argval)
        if step.opname == "IMPORT_NAME":
            found[f"import {name}"] = _imported(name, steps[place - 2].argval, known)
        elif step.opname == "LOAD_NAME" or (step.opname.startswith("LOAD_") and "GLOBAL" in step.opname):
            value = known.get(name, getattr(builtins, name, _Missing))
            for after in steps[place + 1 :]:
                is_attribute = after.opname in ("LOAD_ATTR", "LOAD_METHOD")
                if not is_attribute or not isinstance(value, types.ModuleType):
                    break
                name = f"{name}.{after.argval}"
                value = getattr(value, str(after.argval), _Missing)
            found[name] = value
    return sorted(found.items())


def _imported(name: str, level: object, known: Mapping[str, Any]) -> object:
    """Return the module that a function imports; what is no library's is not even imported."""
    try:
        if not isinstance(level, int):
            raise ImportError(name)
        full = importlib.util.resolve_name("." * level + name, known.get("__package__"))
        top = full.partition(".")[0]
        if top not in sys.modules:
            spec = importlib.util.find_spec(top)
            if spec is None or not _is_installed(spec.origin):
                raise ImportError(name)
        return importlib.import_module(full) if _library_version(top) is not None else _NoLibrary(name)
    except (ImportError, ValueError):
        return _NoLibrary(name)


class _NoLibrary(types.ModuleType):
    """Stands for a module that is not looked at."""


def _is_installed(file: str | None) -> bool:
    """Tell whether a file comes with Python or with an installed package."""
    if file in ("built-in", "frozen"):
        return True
    if not file:
        return False
    if {"site-packages", "dist-packages"} & set(Path(file).parts):
        return True
    return os.path.realpath(file).startswith((_STDLIB + os.sep, _OWN + os.sep))


def _library_version(name: str) -> str | None:
    """Return the version of the library that a module belongs to; None if it is no library's."""
    top = sys.modules.get(name.partition(".")[0])
    for module in (top, sys.modules.get(name)):
        spec = getattr(module, "__spec__", None)
        file = getattr(module, "__file__", None) or getattr(spec, "origin", None)
        is_module = isinstance(module, types.ModuleType) and name != "__main__"
        if not is_module or not _is_installed(file):
            return None
    if top is not None and top.__name__ in sys.stdlib_module_names:
        return sys.version
    version = getattr(top, "__version__", None)
    return version if type(version) is str else None


def _library_name(value: object) -> str | None:
    """Return name and version of what a library has; None for what is not found there under its name."""
    kind = type(value)
    if not isinstance(value, type | types.FunctionType) and kind.__name__ not in _COMPILED:
        return None
    if isinstance(value, types.FunctionType) and value.__closure__:
        return None
    if kind.__name__ in _COMPILED and _library_version(kind.__module__) is None:
        return None
    module = getattr(getattr(value, "__objclass__", value), "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(name, str):
        return None
    if not isinstance(module, str):
        # As functions in C may have none.
        named = [each for each in list(sys.modules) if _has(each, name, value)]
        module = min(named, key=lambda each: (each.count("."), each), default="")
    if not _has(module, name, value):
        return None
    version = _library_version(module)
    return None if version is None else f"{module}.{name} {version}"


def _has(module: str, name: str, value: object) -> bool:
    """Tell whether a library's module has something under a name."""
    found: object = sys.modules.get(module)
    if not isinstance(found, types.ModuleType) or name.partition(".")[0] not in vars(found):
        return False
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, type | types.ModuleType) else None
        found = found.__func__ if isinstance(found, staticmethod) else found
    return found is value and _library_version(module) is not None


def digest_column(source: Source, name: str, into: Any) -> None:
    """Add the values of a column, in the order of the rows, whatever way they lie in memory.

    Args:
        source: The rows.
        name: The column.
        into: A hash, which is told bytes by ``update``.
    """
    column, index = source.columns[name], source.index
    if isinstance(column, np.ndarray):
        into.update(f"{column.dtype.str} {column.dtype!r} {column.shape[1:]}".encode())
        at_once = max(1, min(_ROWS, _BYTES // max(1, column[:1].nbytes)))
        for start in range(0, len(source), at_once):
            part = (
                column[start : start + at_once]
                if index is None
                else column[index[start : start + at_once]]
            )
            into.update(np.ascontiguousarray(part).view(np.uint8) if part.size else b"")
        return
    if pa.types.is_dictionary(column.type) and pa.types.is_nested(column.type.value_type):
        # Long lists that many rows share: written out row by row, they could be of any size.
        for chunk in column.chunks:
            _digest_arrow(chunk.dictionary, into)
        places = [chunk.indices for chunk in column.chunks]
        into.update(repr([len(each) for each in places]).encode())
        indices = pa.chunked_array(places, column.type.index_type)
        _digest_arrow(indices if index is None else indices.take(pa.array(index)), into)
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
        # Such as the shape of tensors, which their storage does not tell.
        told = getattr(array.type, "__arrow_ext_serialize__", bytes)()
        into.update(f"{array.type} {array.type.extension_name} ".encode() + told)
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
