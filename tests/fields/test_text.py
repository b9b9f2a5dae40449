"""`mf.Text`: words, learned in an order that can be foretold, and tokenizers as they are given."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel, PreTokenizer
from tokenizers.processors import BertProcessing, TemplateProcessing

import multifeed as mf

NOTES = ["No fever. No pain.", "Severe pain!"]


def dataset(texts: Any, *arguments: Any, **options: Any) -> mf.Dataset:
    """Return an adapted dataset of one Text, called x, over a column called note, and of its mask."""
    inputs = {"x": mf.Text("note", *arguments, **options), "own": mf.Mask("x")}
    data = mf.Dataset({"note": texts}, inputs=inputs)
    data.adapt()
    return data


def ids(data: mf.Dataset) -> list[list[int]]:
    """Return the ids of all rows."""
    return [data[row][0]["x"].tolist() for row in range(len(data))]


def own(data: mf.Dataset) -> list[list[int]]:
    """Return the mask of all rows."""
    return [data[row][0]["own"].astype(int).tolist() for row in range(len(data))]


def vocabulary(data: mf.Dataset) -> tuple[str, ...]:
    """Return the vocabulary of the field."""
    field = data.fields["x"]
    assert isinstance(field, mf.Text)
    return field.vocabulary(data.learned("x"))


def shown(data: mf.Dataset) -> list[str]:
    """Return the text that each row shows the model."""
    field = data.fields["x"]
    assert isinstance(field, mf.Text)
    return [field.text(data[row][0]["x"], data.learned("x")) for row in range(len(data))]


def bert(**words: int) -> Tokenizer:
    """Return a tokenizer of words that adds special tokens, as that of BERT does."""
    special = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    found = Tokenizer(WordLevel(special | (words or {"no": 4, "pain": 5, "fever": 6}), "[UNK]"))
    found.normalizer = Lowercase()
    found.pre_tokenizer = BertPreTokenizer()
    found.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    found.add_special_tokens(list(special))
    return found


def gpt() -> Tokenizer:
    """Return a tokenizer of bytes, which adds nothing, and has no token to pad with."""
    alphabet = sorted(ByteLevel.alphabet())
    found = Tokenizer(BPE({token: number for number, token in enumerate(alphabet)}, []))
    found.pre_tokenizer = ByteLevel(add_prefix_space=False)
    found.decoder = ByteLevelDecoder()
    return found


# Words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No fever, no PAIN.", ["no", "fever", ",", "no", "pain", "."]),
        (
            "don't e-mail a_b 3.5€ C++",
            ["don", "'", "t", "e", "-", "mail", "a_b", "3", ".", "5", "€", "c", "+", "+"],
        ),
        ("  \t\r\n a\u00a0b\u3000c\u2028d ", ["a", "b", "c", "d"]),
        ("", []),
        (" \n", []),
        ("[PAD] [UNK] </s>", ["[", "pad", "]", "[", "unk", "]", "<", "/", "s", ">"]),
        ("É E\u0301 É", ["é", "é", "é"]),  # composed, and decomposed
        ("J\u030c ǰ", ["ǰ", "ǰ"]),  # composed in lower case alone
        ("STRASSE Straße ΣΟΦΟΣ İ", ["strasse", "straße", "σοφοσ", "i\u0307"]),
        ("हिन्दी में לְ ไทย ú\u0323", ["हिन्दी", "में", "לְ", "ไทย", "ụ\u0301"]),  # marks on their own
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("中文 字", ["中文", "字"]),
        ("a\x00b\x07 soft\u00adhy \ufeffthe\u200b", ["a", "b", "soft", "hy", "the"]),
        ("❤\ufe0f 👍🏽 👨\u200d👩", ["❤", "👍", "🏽", "👨", "👩"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    """Lower case, white space and punctuation, in many scripts; nothing invisible is a word."""
    data = dataset([text, "some words"], 20)
    found = data.fields["x"].text(data[0][0]["x"], data.learned("x"))
    assert found.split() == [unicodedata.normalize("NFC", word) for word in words]


def test_the_most_frequent_words_come_first() -> None:
    """Then in the order of their characters; 0 is padding, 1 unknown, 2 the first word."""
    data = dataset(["b a c a", "c é z", "a c B"], 5)
    assert vocabulary(data) == ("[PAD]", "[UNK]", "a", "c", "b", "z", "é")
    assert data.learned("x") == {"words": ["a", "c", "b", "z", "é"]}
    assert ids(data) == [[4, 2, 3, 2, 0], [3, 6, 5, 0, 0], [2, 3, 4, 0, 0]]
    assert data.spec[0]["x"] == mf.Spec((5,), "int32")


def test_a_vocabulary_has_a_limit() -> None:
    """It counts padding and the unknown word; rarer words are unknown."""
    data = dataset(["b a c a", "c d"], 4, vocabulary_size=4)
    assert vocabulary(data) == ("[PAD]", "[UNK]", "a", "c")
    assert ids(data) == [[1, 2, 3, 2], [3, 1, 0, 0]]
    assert data.fields["x"].vocabulary_size == 4
    assert mf.Text("note", 4).vocabulary_size == 20_000
    assert len(vocabulary(dataset([" ".join(f"w{n}" for n in range(30_000))], 1))) == 20_000


def test_names_of_special_tokens_are_text() -> None:
    """A text that says "[PAD]" is not padded by it."""
    data = dataset(["[PAD] [UNK] a"], 8)
    assert vocabulary(data) == ("[PAD]", "[UNK]", "[", "]", "a", "pad", "unk")
    assert ids(data) == [[2, 5, 3, 2, 6, 3, 4, 0]]
    assert shown(data) == ["[ pad ] [ unk ] a"]


LEARN = """
import sys, json
import numpy as np, multifeed as mf
words = [f"w{number}" for number in range(300)]
rows = np.random.default_rng(0).integers(0, 300, (500, 8))
texts = [" ".join(words[number] for number in row) for row in rows]
order = np.random.default_rng(int(sys.argv[1])).permutation(500)
data = mf.Dataset({"note": [texts[row] for row in order]}, inputs=mf.Text("note", 8, None, 200))
data.adapt()
print(json.dumps(data.learned("note")))
"""


def test_the_same_rows_teach_the_same_in_any_order_and_process() -> None:
    """Neither the order of the rows, nor the seed of Python's hashes, nor a number of threads counts."""
    found = set()
    for seed in ("0", "1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": str(int(seed) + 1)}
        done = subprocess.run(
            [sys.executable, "-c", LEARN, seed],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.add(done.stdout)
    assert len(found) == 1


def test_only_training_rows_teach() -> None:
    """A word of the validation part alone is unknown."""
    data = mf.Dataset({"note": [f"w{row}" for row in range(10)]}, inputs={"x": mf.Text("note", 1)})
    train, test = data.split(0.5, 0.5)
    train.adapt()
    assert {row[0] for row in ids(train)} == {2, 3, 4, 5, 6}
    assert ids(test) == [[1]] * 5


def test_several_tables_teach_together() -> None:
    """A concatenation learns from all of its rows."""
    parts = [mf.Dataset({"note": [text]}, inputs={"x": mf.Text("note", 3)}) for text in ("a b", "b c")]
    data = mf.concat(parts).select([1, 0])
    data.adapt()
    assert vocabulary(data) == ("[PAD]", "[UNK]", "b", "a", "c")
    assert ids(data) == [[2, 4, 0], [3, 2, 0]]


def test_many_rows_teach_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read in pieces; nulls and a bad row keep their places in them."""
    texts = ["a", None, "b a", "c", None, "a", "b"]
    whole = dataset(texts, 2, missing="zero")
    monkeypatch.setattr("multifeed.fields.text._AT_ONCE", 2)
    assert dataset(texts, 2, missing="zero").learned("x") == whole.learned("x")
    with pytest.raises(mf.SampleError) as caught:
        dataset(pa.concat_arrays([pa.array(texts), broken()]), 2, missing="zero")
    assert str(caught.value) == (
        "'x' of row 7 cannot be used: it is no text in UTF-8 (invalid start byte b'\\xff' after 1 "
        "bytes).\n"
        "  Row: 7.\n"
        "  Write the table again with UTF-8 text."
    )


@pytest.mark.parametrize("texts", [["", " \n"], pa.array([None, ""], pa.string())])
def test_texts_without_words_teach_nothing(texts: Any) -> None:
    """White space is no word."""
    with pytest.raises(mf.SampleError) as caught:
        dataset(texts, 2, missing="zero")
    assert str(caught.value) == (
        "'x' cannot be used: it has no word in the training rows of column 'note'.\n"
        "  Leave the column out, or adapt on rows that have text in it."
    )


def test_words_are_saved_and_loaded(tmp_path: Path) -> None:
    """As JSON that can be read; a smaller vocabulary cannot take them over."""
    data = dataset([*NOTES, "é"], 4)
    data.save_state(tmp_path / "state.json")
    assert "é" in (tmp_path / "state.json").read_text(encoding="utf-8")
    other = mf.Dataset({"note": ["Pain: é"]}, inputs={"x": mf.Text("note", 4)})
    other.load_state(tmp_path / "state.json")
    assert ids(other) == [[4, 1, 8, 0]]
    small = mf.Dataset({"note": ["a"]}, inputs={"x": mf.Text("note", 4, vocabulary_size=8)})
    with pytest.raises(mf.StateError, match="then vocabulary_size=20000, now 8"):
        small.load_state(tmp_path / "state.json")


def test_nothing_is_known_before_adapting() -> None:
    """But the spec; errors say what to do."""
    data = mf.Dataset({"note": NOTES}, inputs={"x": mf.Text("note", 4)})
    assert data.spec == ({"x": mf.Spec((4,), "int32")},)
    with pytest.raises(mf.NotAdaptedError) as caught:
        data[0]
    assert str(caught.value) == (
        "'x' has to learn from the training rows before it can be read (it is a Text).\n"
        "  Call train.adapt() on the training part of the split, or data.adapt() if there is none."
    )
    for ask in (mf.Text("note", 4).vocabulary, lambda: mf.Text("note", 4).text([0])):
        with pytest.raises(mf.NotAdaptedError) as caught:
            ask()
        assert str(caught.value) == (
            "a Text without tokenizer= learns its words, and nobody has yet.\n"
            "  Call train.adapt() on the training part first, or pass tokenizer=."
        )


# Columns, padding, missing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        {"note": NOTES},
        {"note": np.array(NOTES)},
        {"note": np.array(NOTES, object)},
        {"note": pa.array(NOTES, pa.large_string())},
        {"note": pa.array(NOTES, pa.string_view())},
        {"note": pa.array(NOTES).dictionary_encode()},
        pa.table({"note": pa.chunked_array([pa.array([each]).dictionary_encode() for each in NOTES])}),
        pd.DataFrame({"note": NOTES}),
        pd.DataFrame({"note": pd.Categorical(NOTES)}),
        pl.DataFrame({"note": NOTES}),
        pl.DataFrame({"note": pl.Series(NOTES, dtype=pl.Categorical)}),
    ],
)
def test_columns_of_text(rows: Any) -> None:
    """Every kind of column that holds text, categoricals included, read in any order."""
    for tokenizer in (None, bert()):
        data = mf.Dataset(rows, inputs={"x": mf.Text("note", 8, tokenizer)}).select([1, 0])
        data.adapt()
        expected = ["severe pain !", "no fever . no pain ."]
        if tokenizer is not None:
            expected = ["[CLS] [UNK] pain [UNK] [SEP]", "[CLS] no fever [UNK] no pain [UNK] [SEP]"]
        assert shown(data) == expected


@pytest.mark.parametrize(
    ("column", "held"),
    [
        ([1, 2], "int64"),
        ([[1, 2], [3]], "list<item: int64>"),
        ([b"a", b"b"], "binary"),
        (np.zeros((2, 3)), "arrays of float64"),
    ],
)
def test_a_column_that_holds_no_text_is_told(column: Any, held: str) -> None:
    """When the dataset is declared."""
    with pytest.raises(mf.DeclarationError) as caught:
        dataset(column, 4)
    assert str(caught.value) == (
        f"field 'x': a Text column holds text, or names of files; 'note' holds {held}.\n"
        "  Convert it to text; declare lists of token ids as mf.Array('note', pad_to=4)."
    )


@pytest.mark.parametrize(
    ("padding", "truncating", "expected", "masks"),
    [
        ("post", "post", [[2, 3, 4], [2, 0, 0], [0, 0, 0]], [[1, 1, 1], [1, 0, 0], [0, 0, 0]]),
        ("post", "pre", [[3, 4, 5], [2, 0, 0], [0, 0, 0]], [[1, 1, 1], [1, 0, 0], [0, 0, 0]]),
        ("pre", "post", [[2, 3, 4], [0, 0, 2], [0, 0, 0]], [[1, 1, 1], [0, 0, 1], [0, 0, 0]]),
        ("pre", "pre", [[3, 4, 5], [0, 0, 2], [0, 0, 0]], [[1, 1, 1], [0, 0, 1], [0, 0, 0]]),
    ],
)
def test_both_ends_are_padded_and_cut(
    padding: str, truncating: str, expected: list[list[int]], masks: list[list[int]]
) -> None:
    """And the mask says what is padding: all of an empty text is."""
    data = dataset(["a b c d", "a", ""], 3, padding=padding, truncating=truncating)
    assert ids(data) == expected
    assert own(data) == masks
    (batch,) = mf.Feed(data, 3).batch(0, 0)
    assert batch["own"].astype(int).tolist() == masks
    assert shown(data)[1:] == ["a", ""]


@pytest.mark.parametrize(
    ("padding", "truncating", "expected", "masks"),
    [
        ("post", "post", [[2, 4, 5, 3], [2, 4, 3, 0], [2, 3, 0, 0]], [4, 3, 2]),
        ("post", "pre", [[2, 5, 6, 3], [2, 4, 3, 0], [2, 3, 0, 0]], [4, 3, 2]),
        ("pre", "pre", [[2, 5, 6, 3], [0, 2, 4, 3], [0, 0, 2, 3]], [4, 3, 2]),
    ],
)
def test_special_tokens_stay_whole(
    padding: str, truncating: str, expected: list[list[int]], masks: list[int]
) -> None:
    """Whatever end is cut: the tokenizer adds them to what is left."""
    data = dataset(["no pain fever", "no", ""], 4, bert(), padding=padding, truncating=truncating)
    assert ids(data) == expected
    assert [sum(mask) for mask in own(data)] == masks
    assert own(data)[1] == ([1, 1, 1, 0] if padding == "post" else [0, 1, 1, 1])


def test_what_is_missing_has_no_item_of_its_own() -> None:
    """It is filled; "zero" is what pads, whatever number that has."""
    data = dataset(["a b", None], 3, missing="zero")
    assert (ids(data), own(data)) == ([[2, 3, 0], [0, 0, 0]], [[1, 1, 0], [0, 0, 0]])
    data = dataset(["a b", None], 3, missing=[1, 0, 0])
    assert (ids(data), own(data)) == ([[2, 3, 0], [1, 0, 0]], [[1, 1, 0], [0, 0, 0]])
    roberta = Tokenizer(WordLevel({"<s>": 0, "<pad>": 1, "<unk>": 2, "a": 3}, "<unk>"))
    data = dataset(["a", None], 2, roberta, missing="zero")
    assert (ids(data), own(data)) == ([[3, 1], [1, 1]], [[1, 0], [0, 0]])
    assert shown(data) == ["a", ""]


def broken() -> pa.Array:
    """Return a column of one text that is not UTF-8."""
    buffers = [None, pa.py_buffer(np.int32([0, 3])), pa.py_buffer(b"a\xffb")]
    return pa.Array.from_buffers(pa.string(), 1, buffers)


def test_text_that_is_no_utf8_is_told() -> None:
    """With its row, where it is read and where it is learned."""
    for tokenizer in (None, bert()):
        with pytest.raises(mf.SampleError) as caught:
            dataset(broken(), 4, tokenizer)[0]
        assert str(caught.value) == (
            "'x' of row 0 cannot be used: it is no text in UTF-8 (invalid start byte b'\\xff' after 1 "
            "bytes).\n"
            "  Row: 0.\n"
            "  Write the table again with UTF-8 text."
        )


def test_ids_may_be_changed_by_a_function() -> None:
    """A user's function gets the ids of one sample."""
    data = mf.Dataset({"note": NOTES}, inputs={"x": mf.Text("note", 4, bert(), preprocess=np.flip)})
    assert ids(data) == [[3, 6, 4, 2], [3, 5, 1, 2]]
    assert data.spec == ({"x": mf.Spec((4,), "int32")},)


# Files ---------------------------------------------------------------------------------------------


def in_files(folder: Path, contents: list[bytes | None], **options: Any) -> mf.Dataset:
    """Return a dataset of one Text, called x, over a file for each content."""
    names = [None if content is None else f"note{row}.txt" for row, content in enumerate(contents)]
    for name, content in zip(names, contents, strict=True):
        if name is not None and content is not None:
            (folder / name).write_bytes(content)
    field = mf.Text("note", 6, files=True, **options)
    return mf.Dataset({"id": list("abcdefgh")[: len(names)], "note": names}, inputs={"x": field},
                      key="id", root=folder)  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("utf-8", "utf-8"), ("UTF8", "utf-8-sig"), ("utf-16", "utf-16"), ("latin-1", "latin-1"),
     ("cp1252", "cp1252")],
)  # fmt: skip
def test_texts_in_files_are_those_in_a_column(tmp_path: Path, encoding: str, written: str) -> None:
    """In any encoding, with a mark at the beginning or none: the same words are learned and read."""
    texts = ["Fièvre? Non.", "Douleur sévère!"]
    data = in_files(tmp_path, [text.encode(written) for text in texts], encoding=encoding)
    data.adapt()
    plain = dataset(texts, 6)
    assert data.learned("x") == plain.learned("x")
    assert ids(data) == ids(plain)


def test_nulls_and_joined_tables_teach_what_they_have(tmp_path: Path) -> None:
    """A row without a file teaches nothing, and each file is read where its own table says."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    data = mf.concat(
        [
            in_files(tmp_path / "a", [b"no pain", None], missing="zero"),
            in_files(tmp_path / "b", [b"pain", b"fever"], missing="zero"),
        ]
    )
    data.adapt()
    assert data.learned("x") == {"words": ["pain", "fever", "no"]}
    assert ids(data) == [[4, 2, 0, 0, 0, 0], [0] * 6, [2, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("content", "encoding", "reason"),
    [
        (b"fine\nbad \xff here", "utf-8",
         "is no text in utf-8: byte 9, in line 2, is 0xff (invalid start byte)"),
        (b"caf\xc3", "utf-8",
         "is no text in utf-8: byte 3, in line 1, is 0xc3 (unexpected end of data)"),
        ("wide".encode("utf-16-le"), "utf-8", "is no text in utf-8: character 1 is a zero byte"),
        (bytes(10), "latin-1", "is no text in iso8859-1: it is all zeros"),
        (b"abc", "utf-16", "is no text in utf-16: byte 2, in line 1, is 0x63 (truncated data)"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_told_by_its_byte(
    tmp_path: Path, content: bytes, encoding: str, reason: str
) -> None:
    """When it is read, and when words are learned from it."""
    remedy = 'Pass encoding=, such as "utf-16" or "latin-1", if that is what it is; else replace it.'
    data = in_files(tmp_path, [b"x\n", content], encoding=encoding, tokenizer=bert())
    with pytest.raises(mf.SampleError) as caught:
        data[1]
    assert str(caught.value) == (
        f"'x' of sample 'b' cannot be used: the file {reason}.\n"
        f"  File: {tmp_path}/note1.txt (row 1).\n"
        f"  {remedy}"
    )
    first = "x".encode(encoding)
    with pytest.raises(mf.SampleError) as caught:
        in_files(tmp_path, [first, content], encoding=encoding).adapt()
    assert str(caught.value) == (
        f"'x' of sample 'b' cannot be used: it names '{tmp_path}/note1.txt', which {reason}.\n"
        "  Row: 1.\n"
        f"  {remedy}"
    )


def test_an_encoding_is_that_of_files() -> None:
    """Text in a column has none."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Text("note", 6, encoding="utf-16")
    assert str(caught.value) == (
        "encoding is that of text files; received 'utf-16' for a column of text, which is decoded "
        "already.\n"
        "  Pass files=True if the column holds names of files."
    )


@pytest.mark.parametrize("encoding", ["", "utf-9", "rot13", "zip", 8, None])
def test_an_encoding_is_one_of_text(encoding: Any) -> None:
    """What Python does not know, or what makes bytes of bytes, is refused at declaration."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Text("note", 6, files=True, encoding=encoding)
    assert str(caught.value) == (
        f'encoding is the name of one that Python knows, such as "utf-8"; received {encoding!r}.'
    )


# Tokenizers ----------------------------------------------------------------------------------------


def test_a_tokenizer_does_what_it_does() -> None:
    """It learns nothing, and its special tokens are found in a text."""
    data = dataset(["No pain, [SEP] [PAD] fever"], 10, bert())
    assert ids(data) == [[2, 4, 5, 1, 3, 0, 6, 3, 0, 0]]
    assert not data.fields["x"].learns
    assert vocabulary(data) == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "no", "pain", "fever")
    assert data.fields["x"].vocabulary_size == 7
    data = dataset(["Naïve 👍"], 20, gpt())
    assert shown(data) == ["Naïve 👍"]
    assert sum(own(data)[0]) == len("Naïve 👍".encode())


def test_special_tokens_in_a_text_are_read_as_the_tokenizer_is_set() -> None:
    """The one setting of a tokenizer that its JSON does not have."""
    tokenizer = bert()
    tokenizer.encode_special_tokens = True
    field = mf.Text("note", 7, tokenizer)
    assert field != mf.Text("note", 7, bert())
    for each in (field, pickle.loads(pickle.dumps(field)), dataclasses.replace(field, missing=0)):
        assert ids(mf.Dataset({"note": ["[PAD]"]}, inputs={"x": each})) == [[2, 1, 1, 1, 3, 0, 0]]


def test_a_tokenizer_may_be_given_in_many_ways(tmp_path: Path) -> None:
    """As itself, as a file, as transformers wraps it: the declarations are equal."""
    tokenizer = bert()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    field = mf.Text("note", 6, tokenizer)
    others = [
        path,
        str(path),
        SimpleNamespace(backend_tokenizer=tokenizer, _tokenizer=tokenizer, pad_token_id=0),
        SimpleNamespace(backend_tokenizer=tokenizer, pad_token_id=None),
        SimpleNamespace(_tokenizer=tokenizer),
        Tokenizer.from_str(tokenizer.to_str()),
        field.tokenizer,
    ]
    for other in others:
        same = mf.Text("note", 6, other)
        assert (same, hash(same)) == (field, hash(field))
        assert ids(dataset(NOTES, 6, other)) == [[2, 4, 6, 1, 4, 3], [2, 1, 5, 1, 3, 0]]
    path.unlink()
    assert dataclasses.replace(same, padding="pre").vocabulary_size == 7
    assert mf.Text("note", 6, bert(a=9)) != field
    assert repr(field) == (
        "Text(column='note', length=6, tokenizer=<tokenizer of 7 ids>, vocabulary_size=7, "
        "padding='post', truncating='post', files=False, encoding='utf-8', preprocess=None, "
        "missing='raise')"
    )


def test_fields_travel() -> None:
    """To another process, as worker processes need it."""
    for field in (mf.Text("note", 6, bert()), mf.Text("note", 6, padding="pre")):
        assert pickle.loads(pickle.dumps(field)) == field
        data = mf.Dataset({"note": NOTES}, inputs={"x": field})
        data.adapt()
        copy = mf.Dataset({"note": NOTES}, inputs={"x": pickle.loads(pickle.dumps(field))})
        copy.adapt()
        assert ids(copy) == ids(data)


def test_the_tokenizer_of_the_caller_is_left_alone() -> None:
    """Its settings stay, do not count, and may change later."""
    tokenizer = bert()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=17, pad_id=0, pad_token="[PAD]")
    before = tokenizer.to_str()
    data = dataset(NOTES, 6, tokenizer)
    expected = ids(data)
    assert expected == ids(dataset(NOTES, 6, bert()))
    assert data.fields["x"] == mf.Text("note", 6, bert())
    assert tokenizer.to_str() == before
    tokenizer.normalizer = None
    tokenizer.add_tokens(["Severe"])
    assert ids(data) == expected
    assert ids(data.select([0, 1])) == expected


def test_a_tokenizer_tells_what_pads() -> None:
    """In this order: transformers, its own setting, a token's name; else it is 0."""

    def pad(tokenizer: Any) -> int:
        return dataset(["no"], 9, tokenizer)[0][0]["x"].tolist()[-1]

    named = bert(**{"<pad>": 8})
    assert pad(named) == 0
    padding = bert()
    padding.enable_padding(pad_id=6, pad_token="fever")
    assert pad(padding) == 6
    assert pad(SimpleNamespace(_tokenizer=padding, pad_token_id=5)) == 5
    assert pad(SimpleNamespace(_tokenizer=padding, pad_token_id=None)) == 6
    assert pad(Tokenizer(WordLevel({"<unk>": 0, "<pad>": 3}, "<unk>"))) == 3
    assert pad(gpt()) == 0
    beyond = SimpleNamespace(_tokenizer=gpt(), pad_token_id=256)
    assert pad(beyond) == 256
    assert mf.Text("note", 9, beyond).vocabulary_size == 257
    assert mf.Text("note", 9, beyond).vocabulary()[-2:] == ("Ń", "")


def test_ids_are_shown_as_text() -> None:
    """Without the padding at the padded end, and with all that the model sees besides."""
    field = mf.Text("note", 8, bert())
    assert field.text(np.array([2, 4, 0, 1, 3, 0, 0, 0])) == "[CLS] no [PAD] [UNK] [SEP]"
    assert dataclasses.replace(field, padding="pre").text([0, 0, 2, 4, 3]) == "[CLS] no [SEP]"
    assert field.text([0, 0]) == field.text(np.zeros(0, np.int32)) == ""
    words = mf.Text("note", 4)
    assert words.text([3, 1, 2, 0], {"words": ["a", "b"]}) == "b [UNK] a"
    for wrong in ([[1]], [0.5], [4], [-1], 3):
        with pytest.raises(mf.DeclarationError) as caught:
            words.text(wrong, {"words": ["a", "b"]})
        assert str(caught.value) == (
            f"the ids of a text are integers from 0 to 3 in one row; received {wrong!r}."
        )


def test_a_text_that_the_tokenizer_refuses_is_told() -> None:
    """With the sample, and what the tokenizer says."""
    data = dataset(["a", "b"], 3, Tokenizer(WordLevel({"a": 0}, "?")))
    with pytest.raises(mf.SampleError) as caught:
        data[1]
    assert str(caught.value) == (
        "'x' of row 1 cannot be used: it is refused by the tokenizer (WordLevel error: Missing [UNK] "
        "token from the vocabulary).\n"
        "  Row: 1.\n"
        "  Pass a tokenizer that has a token for what it does not know."
    )


FORK = """
import os, sys
sys.path.insert(0, sys.argv[1])
import multifeed as mf
from test_text import bert, ids
data = mf.Dataset({"note": ["no pain", "fever"]}, inputs={"x": mf.Text("note", 4, bert())})
expected = ids(data)
child = os.fork()
if child == 0:
    os._exit(0 if ids(data) == expected else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_reads_on() -> None:
    """Without a word of warning, though a tokenizer was used before."""
    environment = {key: value for key, value in os.environ.items() if "TOKENIZERS" not in key}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, str(Path(__file__).parent)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Wrong declarations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": ["a"]}, "mf.Text reads one column, by name; received ['a']."),
        ({"length": 0}, "length is how many ids a sample has, at least 1; received 0."),
        ({"length": 2.0}, "length is how many ids a sample has, at least 1; received 2.0."),
        ({"padding": "left"}, "padding must be one of 'post', 'pre'; received 'left'."),
        ({"truncating": None}, "truncating must be one of 'post', 'pre'; received None."),
        (
            {"vocabulary_size": 2},
            "vocabulary_size counts padding, the unknown word and at least one word, so it is 3 or "
            "more; received 2.",
        ),
        (
            {"tokenizer": bert(), "vocabulary_size": 5_000},
            "vocabulary_size is that of the tokenizer, which has 7 ids; received 5,000.\n"
            "  Leave vocabulary_size out.",
        ),
        (
            {"tokenizer": bert(), "length": 2},
            "length has room for the 2 special tokens that the tokenizer adds, and for one more; "
            "received 2.",
        ),
        (
            {"tokenizer": 5},
            "tokenizer is a tokenizers.Tokenizer, one of transformers' fast tokenizers, or the name of "
            "a tokenizer.json; received int.\n"
            "  Of a slow tokenizer of transformers, load the fast one: "
            "AutoTokenizer.from_pretrained(name).",
        ),
        (
            {"tokenizer": Tokenizer(BPE())},
            "the tokenizer has no vocabulary.\n  Train it first.",
        ),
        (
            {"tokenizer": "bert-base-uncased"},
            "the tokenizer cannot be read: 'bert-base-uncased' does not exist.\n"
            "  Pass the name of a tokenizer.json; of one on the Hugging Face hub, pass "
            "tokenizers.Tokenizer.from_pretrained(name).",
        ),
    ],
)
def test_a_wrong_declaration_is_told_at_once(options: dict[str, Any], message: str) -> None:
    """Options are checked before there is a dataset."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Text(**{"column": "note", "length": 4} | options)
    assert str(caught.value) == message


def test_a_tokenizer_with_python_in_it_is_told() -> None:
    """It could not go to another process, nor be compared."""
    tokenizer = bert()
    tokenizer.pre_tokenizer = PreTokenizer.custom(SimpleNamespace(pre_tokenize=lambda text: None))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Text("note", 4, tokenizer)
    assert str(caught.value) == (
        "a tokenizer is kept as JSON, and the tokenizer has no JSON (Custom PreTokenizer cannot be "
        "serialized).\n"
        "  Build it of the parts that tokenizers has, without functions in Python."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"model"', "EOF while parsing an object at line 1 column 8"),
        (b"\x80\x04\x95.", "expected value at line 1 column 1"),
        (b"{}", "Model missing. at line 1 column 2"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    """With its name; a pickle is nothing but a damaged file."""
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Text("note", 4, path)
    said = f"Cannot instantiate Tokenizer from buffer: {reason}"
    assert str(caught.value) == (
        f"the tokenizer cannot be read: '{path}' holds none ({said}).\n"
        "  It is a file that Tokenizer.save(path) has written, usually called tokenizer.json."
    )


@pytest.mark.parametrize("as_file", [True, False])
def test_a_tokenizer_that_cannot_add_its_tokens_is_told(tmp_path: Path, as_file: bool) -> None:
    """Even where the package panics: that it refers to a token that it does not have."""
    path = tmp_path / "tokenizer.json"
    broken = bert()
    broken.post_processor = TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 2)])
    path.write_text(broken.to_str().replace('"special_tokens":{"[CLS]"', '"special_tokens":{"[X]"'))
    tokenizer = path if as_file else Tokenizer.from_file(str(path))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Text("note", 4, tokenizer)
    what = f"the tokenizer in '{path}'" if as_file else "the tokenizer"
    first, remedy = str(caught.value).split("\n")
    assert first.startswith(f"{what} cannot be used: it fails on an empty text (")
    assert remedy == "  Correct the special tokens that its post-processor adds."


def test_an_interrupt_is_not_taken_for_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C while a tokenizer is read goes through."""

    def interrupt(content: bytes) -> None:
        raise KeyboardInterrupt

    (tmp_path / "tokenizer.json").write_text("{}")
    package = SimpleNamespace(Tokenizer=SimpleNamespace(from_buffer=interrupt))
    monkeypatch.setattr("multifeed.fields.text._package", lambda: package)
    with pytest.raises(KeyboardInterrupt):
        mf.Text("note", 4, tmp_path / "tokenizer.json")


def test_the_package_is_asked_for_at_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra; the error says how to get it."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Text("note", 3)
    assert str(caught.value) == (
        "mf.Text is run by the package tokenizers, which is not installed.\n"
        '  Run pip install "multifeed[text]".'
    )
