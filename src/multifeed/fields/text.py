"""Text as token ids: words that are learned, or a tokenizer that is given; from columns or files."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, NotAdaptedError, lines
from multifeed.extras import package
from multifeed.fields.base import Field, Learned, PerSample, Remark
from multifeed.fields.rows import Cells, NDArray, Requests, Rows, Source
from multifeed.fields.shared import (
    Preprocess,
    fill_value,
    first_line,
    holds_text,
    is_raise,
    one_column,
    one_of,
    preprocessed_spec,
    whole_number,
    wrap,
)
from multifeed.files import read_file
from multifeed.folder import Folder
from multifeed.remote.uri import Request
from multifeed.spec import Spec
from multifeed.table import Columns

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Turns a text into at most `length` ids.
Encode = Callable[[str], list[int]]

_MOST_IDS = 20_000
# Ids of a given tokenizer. The package goes through all numbers up to the largest id, with or without a
# token: one id of 4,000,000,000 takes 16 GB. The largest known vocabularies have a million.
_LARGEST = 2**24

# Of a learned vocabulary; no word has these names, because brackets are words of their own.
_PAD, _UNKNOWN = "[PAD]", "[UNK]"
_FIRST_WORD = 2

# Rows that are held in memory at once.
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Text(Field):
    """A text as the numbers of its tokens, ``int32[length]``.

    It takes the package `tokenizers`: ``pip install "multifeed[text]"``.

    Without `tokenizer`, a token is a word, and `Dataset.adapt` learns the vocabulary from the training
    rows. Words are lower-cased (and brought to Unicode's NFC); they are runs of letters, digits and
    underscores, and each punctuation mark or symbol is a word of its own. The most frequent words have
    the lowest ids, those of one frequency stand in the order of their characters: the same rows give
    the same vocabulary in whatever order they come. Id 0 is padding, 1 an unknown word, 2 the first
    word. Languages that put no spaces between words need a tokenizer.

    With `tokenizer`, what it does is done: its special tokens ([CLS] … [SEP]) are added, and kept where
    the text is cut; so an empty text is not all padding. The padding id is its own, 0 if it has none.

    For ``keras.layers.Embedding(input_dim=...)`` take `vocabulary_size`: every id is below it. What a
    learned vocabulary really has is ``len(field.vocabulary(data.learned(name)))``.

    Args:
        column: A column of text, or, with `files`, of names of text files.
        length: How many ids a sample has: shorter texts are padded, longer ones cut.
        tokenizer: None to learn words; a `tokenizers.Tokenizer` or one of transformers' fast
            tokenizers, of which a copy is kept; or the name of a ``tokenizer.json``. Its own settings of
            length, padding and truncation do not count.
        vocabulary_size: How many ids a learned vocabulary has at most, padding and the unknown word
            included. Of a given tokenizer it is the number of ids, and left out.
        padding: Which end is padded, ``"post"`` or ``"pre"``.
        truncating: Which end is cut, ``"post"`` or ``"pre"``.
        files: Whether the column holds names of text files, one for each sample.
        encoding: In which encoding these are, by any name that Python knows, such as ``"utf-16"`` or
            ``"latin-1"``. A mark at the beginning of UTF-8 (a BOM) is no part of the text. What the
            encoding has no characters for is an error that names the byte; a zero byte too, which text
            does not have.
        preprocess: A function of one sample's ids, ``int32[length]``, that returns another array; also
            called with zeros at declaration, to learn what it returns.
        missing: ``"raise"``, ``"zero"`` (all padding) or the value that fills a sample whose column is
            null.

    Raises:
        DeclarationError: If the column does not hold text, `length` is below 1 or leaves no room beside
            the special tokens, an option or the encoding is unknown, or the tokenizer cannot be read.

    Example:
        >>> import multifeed as mf
        >>> rows = {"note": ["No fever. No pain.", "Severe pain!"]}
        >>> data = mf.Dataset(rows, inputs=Text("note", length=6, vocabulary_size=7))
        >>> data.adapt()
        >>> data[1]
        (array([1, 4, 5, 0, 0, 0], dtype=int32),)
        >>> field, learned = data.fields["note"], data.learned("note")
        >>> field.vocabulary(learned)
        ('[PAD]', '[UNK]', '.', 'no', 'pain', '!', 'fever')
        >>> field.text(data[1][0], learned)
        '[UNK] pain !'
    """

    column: str
    length: int
    tokenizer: Any = None
    vocabulary_size: int = _MOST_IDS
    _: KW_ONLY
    padding: str = "post"
    truncating: str = "post"
    files: bool = False
    encoding: str = "utf-8"
    preprocess: Preprocess | None = None
    missing: Any = "raise"

    def __post_init__(self) -> None:
        one_column(self, self.column)
        _package()
        one_of("files", self.files, (True, False))
        object.__setattr__(self, "encoding", _checked_encoding(self.encoding))
        if self.encoding != "utf-8" and not self.files:
            raise DeclarationError(
                lines(
                    f"encoding is that of text files; received {self.encoding!r} for a column of text, "
                    "which is decoded already.",
                    "Pass files=True if the column holds names of files.",
                )
            )
        length = whole_number(self.length) or 0
        if length < 1:
            raise DeclarationError(
                f"length is how many ids a sample has, at least 1; received {self.length!r}."
            )
        object.__setattr__(self, "length", length)
        one_of("padding", self.padding, ("post", "pre"))
        one_of("truncating", self.truncating, ("post", "pre"))
        size = whole_number(self.vocabulary_size) or 0
        if size <= _FIRST_WORD:
            raise DeclarationError(
                "vocabulary_size counts padding, the unknown word and at least one word, so it is 3 or "
                f"more; received {self.vocabulary_size!r}."
            )
        if self.tokenizer is not None:
            # As it is now: the caller's may change.
            object.__setattr__(self, "tokenizer", _given(self.tokenizer))
            size = _checked_size(self.tokenizer, size)
            if self.tokenizer.added >= length:
                raise DeclarationError(
                    f"length has room for the {self.tokenizer.added} special tokens that the tokenizer "
                    f"adds, and for one more; received {length}."
                )
        object.__setattr__(self, "vocabulary_size", size)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def learns(self) -> bool:
        return self.tokenizer is None

    @property
    def decoding(self) -> dict[str, Any]:
        return {"tokenizers": _package().__version__, **super().decoding}

    @property
    def pads(self) -> tuple[int, str] | None:
        return self.length, self.padding

    def check(self, columns: Columns) -> None:
        column = columns[self.column]
        is_array = isinstance(column, np.ndarray)
        if is_array or not holds_text(column.type):
            held = f"arrays of {column.dtype}" if is_array else column.type
            raise DeclarationError(
                lines(
                    f"a Text column holds text, or names of files; {self.column!r} holds {held}.",
                    "Convert it to text; declare lists of token ids as "
                    f"mf.Array({self.column!r}, pad_to={self.length}).",
                )
            )
        if not is_raise(self.missing):
            fill_value(self.missing, self.spec_of(columns, None))

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._spec, self.preprocess)

    def vocabulary(self, learned: Learned | None = None) -> tuple[str, ...]:
        """Return all tokens in the order of their ids.

        Args:
            learned: What ``data.learned(name)`` returns; not needed where a tokenizer was given.

        Raises:
            NotAdaptedError: If the words have yet to be learned.
        """
        if self.tokenizer is not None:
            return _tokens(self.tokenizer)
        return (_PAD, _UNKNOWN, *self._words(learned))

    def text(self, ids: Any, learned: Learned | None = None) -> str:
        """Return what the model sees of a text: its tokens, without the padding.

        Args:
            ids: ``int[length]``, one sample of this field.
            learned: What ``data.learned(name)`` returns; not needed where a tokenizer was given.

        Raises:
            DeclarationError: If these are no ids of the vocabulary.
            NotAdaptedError: If the words have yet to be learned.
        """
        vocabulary = self.vocabulary(learned)
        found = np.asarray(ids)
        if found.ndim != 1 or found.dtype.kind not in "iu" or not _within(found, len(vocabulary)):
            raise DeclarationError(
                f"the ids of a text are integers from 0 to {len(vocabulary) - 1:,} in one row; received "
                f"{ids!r}."
            )
        places = np.flatnonzero(found != self.pad)
        if not len(places):
            return ""
        own = found[: places[-1] + 1] if self.padding == "post" else found[places[0] :]
        if self.tokenizer is None:
            return " ".join(vocabulary[each] for each in own)
        text: str = self.tokenizer.build().decode(own.tolist(), skip_special_tokens=False)
        return text

    def caption(self, value: NDArray, learned: Learned | None) -> str | None:
        try:
            return self.text(value, learned)
        except DeclarationError:
            # What preprocess has made of the ids may be anything.
            return None

    def learn(self, rows: Rows) -> Learned:
        tokenizer = _word_tokenizer()
        # Ordered by frequency and then by character, whatever came first and on however many threads.
        trainer = _package().trainers.WordLevelTrainer(
            vocab_size=self.vocabulary_size - _FIRST_WORD, special_tokens=[], show_progress=False
        )
        texts = _texts_in_files(rows, self) if self.files else _texts(rows, self.column)
        tokenizer.train_from_iterator((text for text in texts if text is not None), trainer)
        seen = tokenizer.get_vocab()
        if not seen:
            raise BadValue(
                f"has no word in the training rows of column {self.column!r}",
                "Leave the column out, or adapt on rows that have text in it.",
            )
        return {"words": sorted(seen, key=lambda word: seen[word])}

    @property
    def options(self) -> dict[str, Any]:
        return {"vocabulary_size": self.vocabulary_size}

    def accepts(self, learned: Any, columns: Columns) -> bool:
        words = learned.get("words") if isinstance(learned, dict) else None
        if not isinstance(words, list) or not 0 < len(words) <= self.vocabulary_size - _FIRST_WORD:
            return False
        are_texts = all(isinstance(word, str) and word for word in words)
        return are_texts and len({_PAD, _UNKNOWN, *words}) == len(words) + _FIRST_WORD

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        cells, encode = source.cells(self.column), self._encoder(learned)
        reader: PerSample = _TextReader(self, cells, encode)
        if self.files:
            reader = _FileReader(self, cells, source.folder(self.column), encode)
        is_padding = isinstance(self.missing, str) and self.missing == "zero" and self.preprocess is None
        missing = self.pad if is_padding else self.missing
        return wrap(reader, missing=missing, is_null=cells.is_null(), preprocess=self.preprocess)

    def examine(self, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
        if self.files:
            return  # An empty one cannot be read.
        for start in range(0, len(rows), _AT_ONCE):
            texts = rows.pick(self.column, np.arange(start, min(start + _AT_ONCE, len(rows))))
            if pa.types.is_dictionary(texts.type):
                texts = texts.dictionary_decode()
            # By bytes, since a text may be damaged; reading it says so.
            lengths = pc.binary_length(pc.ascii_trim_whitespace(texts))
            empty = start + np.flatnonzero(pc.equal(lengths, 0).fill_null(False))
            yield Remark("empty text", empty, f"column {self.column!r} is an empty text")

    @property
    def _spec(self) -> Spec:
        return Spec((self.length,), "int32")

    @property
    def pad(self) -> int:
        """The id of padding."""
        return 0 if self.tokenizer is None else int(self.tokenizer.pad)

    def _words(self, learned: Learned | None) -> list[str]:
        if learned is None:
            raise NotAdaptedError(
                lines(
                    "a Text without tokenizer= learns its words, and nobody has yet.",
                    "Call train.adapt() on the training part first, or pass tokenizer=.",
                )
            )
        words: list[str] = learned["words"]
        return words

    def _encoder(self, learned: Learned | None) -> Encode:
        if self.tokenizer is not None:
            return _token_encoder(self.tokenizer.build(self.length, self.truncating))
        tokenizer = _word_tokenizer(self._words(learned))
        return _token_encoder(_cutting(tokenizer, self.length, self.truncating))


class _TextReader(PerSample):
    """Reads the texts of a column."""

    def __init__(self, field: Text, cells: Cells, encode: Encode) -> None:
        self.spec = field._spec
        self._cells, self._encode = cells, encode
        self._pad, self._at_end = field.pad, field.padding == "post"

    def load(self, row: int) -> Any:
        return self._cells[row]

    def decode(self, row: int, loaded: Any, out: NDArray) -> int:
        ids = self._encode(self._text(loaded))
        start = 0 if self._at_end else len(out) - len(ids)
        stop = start + len(ids)
        out[:start] = self._pad
        out[start:stop] = ids
        out[stop:] = self._pad
        return len(ids)

    def _text(self, loaded: Any) -> str:
        text: str = loaded
        return text


class _FileReader(_TextReader):
    """Reads a text file for each row."""

    def __init__(self, field: Text, cells: Cells, folder: Folder, encode: Encode) -> None:
        super().__init__(field, cells, encode)
        self._folder, self._encoding = folder, field.encoding
        self._requests = Requests(cells, folder)

    def file(self, row: int) -> str | None:
        try:
            return self._folder.path(self._cells[row])
        except BadValue:
            return None

    def requests(self, rows: NDArray) -> Iterable[Request]:
        return self._requests(rows)

    def load(self, row: int) -> bytes:
        return self._folder.read(self._cells[row])

    def _text(self, loaded: Any) -> str:
        return text_of(loaded, self._encoding)


def text_of(content: bytes, encoding: str) -> str:
    """Return the text that a file holds.

    Raises:
        BadValue: If it is none in that encoding.
    """
    try:
        text = content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeError as error:
        raise BadValue(f"is no text in {encoding}: {_unknown_byte(error)}", _OTHER_ENCODING) from error
    if "\0" in text:
        place = (
            f"character {text.index(chr(0)):,} is a zero byte" if text.strip("\0") else "it is all zeros"
        )
        raise BadValue(f"is no text in {encoding}: {place}", _OTHER_ENCODING)
    return text


_OTHER_ENCODING = (
    'Pass encoding=, such as "utf-16" or "latin-1", if that is what it is; else replace it.'
)


def _unknown_byte(error: UnicodeError) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return first_line(error)
    place = error.start
    line = error.object.count(b"\n", 0, place) + 1
    return f"byte {place:,}, in line {line:,}, is 0x{error.object[place]:02x} ({error.reason})"


def _checked_encoding(encoding: object) -> str:
    """Return Python's own name of an encoding of text."""
    try:
        if isinstance(encoding, str):
            with suppress(UnicodeError):
                # Of what makes no text of bytes Python says so here.
                b" ".decode(encoding)
            return codecs.lookup(encoding).name
    except LookupError:
        pass
    raise DeclarationError(
        f'encoding is the name of one that Python knows, such as "utf-8"; received {encoding!r}.'
    )


# Words ---------------------------------------------------------------------------------------------


# A word begins with a letter, digit or underscore, and goes on with marks (the vowels of Hindi) and the
# joiners that stand inside the words of Persian and Indian languages. Any other sign that can be seen is
# a word by itself.
_WORD = "[\\p{L}\\p{N}_][\\w\u200c\u200d]*|[^\\w\\s\\p{C}\\p{M}]"


def _word_tokenizer(words: Sequence[str] = ()) -> Tokenizer:
    """Return the tokenizer of a learned vocabulary."""
    tokenizers = _package()
    numbers = {word: number for number, word in enumerate((_PAD, _UNKNOWN, *words))}
    # No token is declared special: a text that says "[PAD]" says three words.
    tokenizer: Tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token=_UNKNOWN))
    normalizers, split = tokenizers.normalizers, tokenizers.pre_tokenizers.Split
    # In this order: a lower-case letter may have a composed form where the upper-case one has none.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.NFC()])
    tokenizer.pre_tokenizer = split(tokenizers.Regex(_WORD), "removed", invert=True)
    return tokenizer


def _texts(rows: Rows, name: str) -> Iterator[str | None]:
    """Return the texts of a column one after the other, without holding them all."""
    for start in range(0, len(rows), _AT_ONCE):
        numbers = np.arange(start, min(start + _AT_ONCE, len(rows)))
        cells = Cells(pa.chunked_array([rows.pick(name, numbers)]), None)
        for place, row in enumerate(numbers.tolist()):
            try:
                yield cells[place]
            except BadValue as error:
                raise BadValue(error.reason, error.remedy, row=row) from error


def _texts_in_files(rows: Rows, field: Text) -> Iterator[str]:
    """Return the texts that files hold one after the other."""
    for source, places in rows.pieces():
        cells, folder = source.cells(field.column), source.folder(field.column)
        is_null = cells.is_null()
        for row in range(len(source)) if is_null is None else np.flatnonzero(~is_null).tolist():
            name = cells[row]
            try:
                yield text_of(folder.read(name), field.encoding)
            except BadValue as error:
                reason = f"names {folder.path(name)!r}, which {error.reason}"
                raise BadValue(reason, error.remedy, row=int(places[row])) from error


# Tokenizers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Given:
    """A tokenizer as text: two of the same are equal, and any process can build it.

    Args:
        json: The tokenizer, in its own format, without its settings of padding and truncation.
        pad: The id that pads.
        size: How many ids there are; each is below it.
        added: How many special tokens are added to each text.
        splits_special: Whether a special token that stands in a text is read as plain text, as
            ``tokenizer.encode_special_tokens`` has it.
    """

    json: str
    pad: int
    size: int
    added: int
    splits_special: bool

    def __repr__(self) -> str:
        return f"<tokenizer of {self.size:,} ids>"

    def build(self, length: int | None = None, truncating: str = "post") -> Tokenizer:
        """Return the tokenizer, which cuts to a length. It is shared, and not to be changed."""
        return _built(self, length, truncating)


@lru_cache(maxsize=8)
def _built(given: _Given, length: int | None, truncating: str) -> Tokenizer:
    tokenizer: Tokenizer = _package().Tokenizer.from_str(given.json)
    tokenizer.encode_special_tokens = given.splits_special
    return tokenizer if length is None else _cutting(tokenizer, length, truncating)


def _cutting(tokenizer: Tokenizer, length: int, truncating: str) -> Tokenizer:
    """Let a tokenizer cut to a length."""
    tokenizer.enable_truncation(length, direction="right" if truncating == "post" else "left")
    return tokenizer


def _token_encoder(tokenizer: Tokenizer) -> Encode:
    # Of all its functions, those of batches alone release the GIL; a batch of one costs nothing more,
    # and has no effect on a later fork (from tokenizers 0.22.2 on).
    encode = tokenizer.encode_batch_fast

    def ids(text: str) -> list[int]:
        try:
            return encode([text])[0].ids
        except BaseException as error:
            if any("\ud800" <= each <= "\udfff" for each in text):
                raise BadValue(
                    "is no text: half of a character stands alone (a surrogate)",
                    "Decode it with the encoding that it was written in.",
                ) from error
            raise BadValue(
                f"is refused by the tokenizer ({_said(error)})",
                "Pass a tokenizer that has a token for what it does not know.",
            ) from error

    return ids


def _given(tokenizer: Any) -> _Given:
    """Return a copy of what the user calls a tokenizer."""
    if isinstance(tokenizer, _Given):
        return tokenizer
    kind, what = _package().Tokenizer, "the tokenizer"
    if isinstance(tokenizer, str | os.PathLike):
        path = os.fspath(tokenizer)
        found: Tokenizer | None = _from_file(path)
        what = f"the tokenizer in {path!r}"
    else:
        held = (getattr(tokenizer, name, None) for name in ("backend_tokenizer", "_tokenizer"))
        found = next((each for each in (tokenizer, *held) if isinstance(each, kind)), None)
    if found is None:
        raise DeclarationError(
            lines(
                "tokenizer is a tokenizers.Tokenizer, one of transformers' fast tokenizers, or the name "
                f"of a tokenizer.json; received {type(tokenizer).__name__}.",
                "Of a slow tokenizer of transformers, load the fast one: "
                "AutoTokenizer.from_pretrained(name).",
            )
        )
    tokens = found.get_vocab(with_added_tokens=True)
    if not tokens:
        raise DeclarationError(lines(f"{what} has no vocabulary.", "Train it first."))
    pad = _pad_id(found, tokenizer)
    size = max(*tokens.values(), pad) + 1
    if size > _LARGEST:
        raise DeclarationError(
            lines(
                f"the ids of {what} are below {_LARGEST:,}; the largest is {size - 1:,}.",
                "Number its tokens without gaps: an embedding has a row for each id.",
            )
        )
    return _Given(
        json=_as_json(found, what),
        pad=pad,
        size=size,
        added=_count_added(found, what),
        splits_special=bool(found.encode_special_tokens),
    )


def _from_file(path: str) -> Tokenizer:
    try:
        content = read_file(path)
    except BadValue as error:
        raise DeclarationError(
            lines(
                f"the tokenizer cannot be read: {path!r} {error.reason}.",
                "Pass the name of a tokenizer.json; of one on the Hugging Face hub, pass "
                "tokenizers.Tokenizer.from_pretrained(name).",
            )
        ) from error
    try:
        read: Tokenizer = _package().Tokenizer.from_buffer(content)
        return read
    except BaseException as error:
        raise DeclarationError(
            lines(
                f"the tokenizer cannot be read: {path!r} holds none ({_said(error)}).",
                "It is a file that Tokenizer.save(path) has written, usually called tokenizer.json.",
            )
        ) from error


def _as_json(tokenizer: Tokenizer, what: str) -> str:
    """Return a tokenizer as text, without its settings of padding and truncation."""
    try:
        copy: Tokenizer = _package().Tokenizer.from_str(tokenizer.to_str())
    except BaseException as error:
        raise DeclarationError(
            lines(
                f"a tokenizer is kept as JSON, and {what} has no JSON ({_said(error)}).",
                "Build it of the parts that tokenizers has, without functions in Python.",
            )
        ) from error
    copy.no_padding()
    copy.no_truncation()
    return copy.to_str()


def _pad_id(tokenizer: Tokenizer, owner: Any) -> int:
    """Return the id that pads: as transformers, the settings of padding, or a token's name tell it."""
    told = whole_number(getattr(owner, "pad_token_id", None))
    if told is not None:
        return told
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    named = (tokenizer.token_to_id(token) for token in (_PAD, "<pad>"))
    return next((number for number in named if number is not None), 0)


def _tokens(given: _Given) -> tuple[str, ...]:
    """Return the tokens in the order of their ids; an id without a token has the empty text."""
    tokens = [""] * given.size
    for token, number in given.build().get_vocab(with_added_tokens=True).items():
        tokens[number] = token
    return tuple(tokens)


def _checked_size(given: _Given, size: int) -> int:
    # The default is not told from the same number given.
    if size not in (_MOST_IDS, given.size):
        raise DeclarationError(
            lines(
                f"vocabulary_size is that of the tokenizer, which has {given.size:,} ids; received "
                f"{size:,}.",
                "Leave vocabulary_size out.",
            )
        )
    return given.size


def _count_added(tokenizer: Tokenizer, what: str) -> int:
    """Return how many special tokens each text gets, having seen that they can be added."""
    try:
        tokenizer.encode_batch_fast([""])
        return tokenizer.num_special_tokens_to_add(is_pair=False)
    except BaseException as error:
        raise DeclarationError(
            lines(
                f"{what} cannot be used: it fails on an empty text ({_said(error)}).",
                "Correct the special tokens that its post-processor adds.",
            )
        ) from error


def _said(error: BaseException) -> str:
    """Return what the package says went wrong, and raise again what it did not say."""
    # Its panics in Rust are no `Exception`s, and their class cannot be imported.
    if isinstance(error, Exception):
        return first_line(error)
    if type(error).__name__ == "PanicException":
        return str(error)
    raise error


def _within(ids: NDArray, size: int) -> bool:
    return not len(ids) or (int(ids.min()) >= 0 and int(ids.max()) < size)


def _package() -> Any:
    """Return the package that does the work."""
    return package("tokenizers", extra="text", of="mf.Text")
