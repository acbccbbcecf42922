"""Files as people have them: read rightly, or refused with file, line and what was needed."""

import bz2
import functools
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pytest

from mechir_edu.collection.formats import read_qrels, read_run_file, read_texts
from mechir_edu.collection.load import load_collection
from mechir_edu.interventions.candidates import read_run

pytestmark = pytest.mark.usefixtures("as_users_run")


def file_of(folder, content, name="docs.tsv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


gzipped = functools.partial(gzip.compress, mtime=0)  # the same bytes, and so names, in any process


def packed(pack, content=b"d1\tcoral\n"):
    """The content in an archive."""
    buffer = io.BytesIO()
    if pack == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("docs.tsv", content)
    elif pack.startswith("tar"):
        with tarfile.open(fileobj=buffer, mode=pack.replace("tar", "w")) as archive:
            (info := tarfile.TarInfo("docs.tsv")).size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


# --- opening ----------------------------------------------------------------------------------

ROWS = "d1\tcoral reef\nd2\tthe sea\n"
READ = {"d1": "coral reef", "d2": "the sea"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom", b"\xef\xbb\xbf" + ROWS.encode()),
        ("windows", ROWS.replace("\n", "\r\n").encode()),
        ("no-last-line-end", ROWS[:-1].encode()),
        ("no-last-line-end-of-windows", ROWS.replace("\n", "\r\n").encode()[:-1]),
        ("blank-lines", b"\n" + ROWS.replace("\n", "\n  \n\t\n").encode()),
        ("docs.tsv.gz", gzipped(ROWS.encode())),
        ("gzipped-under-another-name", gzipped(b"\xef\xbb\xbf" + ROWS.encode())),
        ("in-two-parts.gz", gzipped(ROWS[:14].encode()) + gzipped(ROWS[14:].encode())),
        ("plain.gz", ROWS.encode()),
        ("said-twice", (ROWS + ROWS).encode()),
        ("spaces-at-ids", b" d1 \tcoral reef\nd2\xc2\xa0\tthe sea\n"),
        ("header", b"doc_id\ttext\n" + ROWS.encode()),
        ("Header", b"\xef\xbb\xbfDocID\tText\r\n" + ROWS.encode()),
        ("json.txt", b'{"id": "d1", "text": "coral reef"}\n{"id": "d2", "text": "the sea"}'),
    ],
)
def test_the_same_texts_are_read_from_files_that_say_the_same(tmp_path, name, content):
    assert read_texts(file_of(tmp_path, content, name)) == READ


@pytest.mark.parametrize("inside", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0"])
def test_only_a_line_feed_ends_a_line(tmp_path, inside):
    text = f"coral{inside}reefs\tare{inside}alive"
    read = read_texts(file_of(tmp_path, f"d1\t{text}\nd2\tthe sea\r\n"))
    assert read == {"d1": text, "d2": "the sea"}


def test_a_line_of_a_million_words_is_a_line(tmp_path):
    text = "coral " * 1_000_000
    assert read_texts(file_of(tmp_path, f"d1\t{text}\n")) == {"d1": text}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ROWS.encode("utf-16"), "UTF-16.*iconv"),
        (ROWS.encode("utf-16-be"), "UTF-16"),
        (ROWS.encode("utf-32"), "UTF-32.*iconv"),
        (packed("zip"), "zip archive.*unpack it first"),
        (packed("tar:"), "tar archive"),
        (packed("tar:gz"), "tar archive"),
        (bz2.compress(b"x"), "bzip2"),
        (lzma.compress(b"x"), "xz"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (gzipped(gzipped(b"x")), "gzip twice"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>404", "web page"),
        (b"d1\tcoral\rd2\tthe sea\r", "carriage returns but no line feed"),
        (b"", "empty"),
        (b"\n \n\t\n", "empty"),
        (gzipped(b""), "empty"),
    ],
)
def test_a_form_that_is_not_read_is_named_with_its_file(tmp_path, content, said):
    path = file_of(tmp_path, content)
    for read in (read_texts, read_qrels, read_run_file):
        with pytest.raises(ValueError, match=f"(?s){said}") as refused:
            read(path)
        assert "docs.tsv" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("d0\ta\nd1\tcafé\n".encode("latin-1"), "docs.tsv, line 2: .*0xe9.*WINDOWS-1252"),
        (b"d0\ta\nd1\t\xed\xa0\x80\n", "docs.tsv, line 2: needed UTF-8"),
        (b"d0\ta\nd1\t\xc3\n", "docs.tsv, line 2: needed UTF-8"),
        (gzipped(ROWS.encode() * 50)[:-9], "a damaged gzip file .*docs.tsv"),
        (gzipped(ROWS.encode()) + b"rest", "a damaged gzip file .*docs.tsv"),
    ],
)
def test_what_cannot_be_decoded_is_named_with_its_place(tmp_path, content, said):
    with pytest.raises(ValueError, match=said):
        read_texts(file_of(tmp_path, content))


def test_a_folder_and_what_is_no_path_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got a folder"):
        read_texts(tmp_path)
    with pytest.raises(ValueError, match="got a folder"):
        read_run(tmp_path)
    with pytest.raises(TypeError, match="needed the path of a file of texts, got dict"):
        read_texts({"d1": "coral"})


# --- queries and docs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("d1\ta\nd 2\tb\n", "line 2: needed an id without white space"),
        ("d1\ta\n\tb\n", "line 2: needed an id"),
        ("d1\ta\n\ufeffd2\tb\n", r"line 2: needed an id .*got '\\ufeffd2'"),
        ("d1\ta\n\u200bd2\tb\n", "line 2: needed an id"),
        ("d1\ta\nd1 \tb\n", "line 2: ids must be unique.*'b'; it has 'a' in .*line 1"),
        ("d1\ta\nqid\tquery\n", "line 2: .*a header of these two columns"),
        ("doc_id\turl\ttitle\tbody\nd1\tu\tt\tb\n", "line 1: .*a header of these two columns"),
        ("text\tdoc_id\ncoral\td1\n", "line 1: .*a header of these two columns"),
        ("id\tthe sea\n", "line 1: .*or remove the header"),
        ("\tdoc_id\ttext\n0\td1\tcoral\n", "line 1: needed an id"),
        ('"d1"\t"coral"\n', "line 1: needed a plain cell, got a quoted one.*QUOTE_NONE"),
        ('d0\tsea\nd1\t"the ""coral"" reef"\n', "line 2: needed a plain cell"),
        ('d0\tsea\nd1\t"coral\treef"\n', "line 2: needed a plain cell"),
        ('d0\tsea\nd1\t"coral\nreefs\tare"\nd2\tb\n', "line 3: .*begins in .*line 2"),
        ('d0\tsea\nd1\t"coral\nb\tc\nreefs\tare"\nd2\tb\n', "line 4: .*begins in .*line 2"),
        ('1\t"coral"\n2\t"sea"\n', "got quotes around each of them"),
        ('d0\tsea\nd1\t"coral\nreefs"\n', "line 3: needed 'id<TAB>text'.*JSON lines"),
        ("d1,coral\n", "line 1: needed 'id<TAB>text'"),
    ],
)
def test_a_table_that_could_be_misread_is_refused_by_line(tmp_path, content, said):
    with pytest.raises(ValueError, match=f"docs.tsv(, |.*){said}"):
        read_texts(file_of(tmp_path, content))


def test_quotes_belong_to_a_text(tmp_path):
    texts = {
        "1": '"coral reef"',
        "2": '"Hello," she said. "Bye."',
        "3": '"Coral reefs die, he said.',
        "4": 'They called it a "reef"',
        "5": 'and that is that."',
        "6": '""',
        "7": "",
    }
    rows = "".join(f"{key}\t{text}\n" for key, text in texts.items())
    assert read_texts(file_of(tmp_path, rows)) == texts


@pytest.mark.parametrize(
    ("record", "read"),
    [
        ({"_id": "a", "title": "T", "text": "sea"}, "T sea"),
        ({"_id": "a", "title": "", "text": "sea", "metadata": {"text": 1}}, "sea"),
        ({"_id": "a", "title": "T", "text": ""}, "T"),
        ({"_id": "a", "title": None, "text": "sea"}, "sea"),
        ({"id": "a", "title": "T", "contents": "T\nsea"}, "T\nsea"),
        ({"pid": "a", "docid": "D1", "passage": "sea"}, "sea"),
        ({"docid": "a", "url": "u", "title": "T", "body": "sea"}, "T sea"),
        ({"id": " a ", "doc_id": "a", "text": "sea", "contents": "sea"}, "sea"),
        ({"qid": "a", "query": "sea", "text": None}, "sea"),
    ],
)
def test_the_text_of_an_object_is_taken_by_the_stated_rule(tmp_path, record, read):
    assert read_texts(file_of(tmp_path, json.dumps(record), "d.jsonl")) == {"a": read}


def test_a_whole_number_is_an_id_in_json(tmp_path):
    assert read_texts(file_of(tmp_path, '{"id": 7, "text": "sea"}', "d.json")) == {"7": "sea"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a", "text": "x", "contents": "y"}', "got text, contents with different values"),
        ('{"id": "a", "doc_id": "b", "text": "x"}', "got doc_id, id with different values"),
        ('{"id": "a", "id": "b", "text": "x"}', "the field 'id' has two values"),
        ('{"id": "a", "text": null}', r"got the fields \['id', 'text'\], null in text"),
        ('{"id": null, "text": "x"}', "null in id"),
        ('{"text": "x"}', r"needed an id .*got the fields \['text'\]"),
        ('{"id": 1.0, "text": "x"}', "string or a whole number, got 1.0"),
        ('{"id": true, "text": "x"}', "string or a whole number, got True"),
        ('{"id": ["a"], "text": "x"}', "string or a whole number"),
        ('{"id": "", "text": "x"}', "needed an id"),
        ('{"id": "a", "text": NaN}', r"'text' has to be a string, got nan \(float\)"),
        ('{"id": "a", "text": 5}', r"got 5 \(int\)"),
        ('{"id": "a", "text": ["x", "y"]}', r"\(list\)"),
        ('{"id": "a", "text": {"en": "x"}}', r"\(dict\)"),
        ('{"id": "a", "title": NaN, "text": "x"}', "'title' has to be a string"),
        (r'{"id": "a", "text": "x\ud800"}', "half of a surrogate pair"),
        (r'{"id": "a\ud800", "text": "x"}', "needed an id"),
        ('["a", "x"]', "needed a JSON object"),
        ('"a"', "needed a JSON object"),
        ("[" * 100_000, "needed a JSON object"),
        ('{"id": ' + "9" * 5000 + ', "text": "x"}', "needed a JSON object"),
        ('{"id": "a", "text": "x"} {"id": "b", "text": "y"}', "needed a JSON object on one line"),
        ("a\tx", "needed a JSON object"),
    ],
)
def test_an_object_that_could_be_misread_is_refused_by_line(tmp_path, line, said):
    sound = '{"id": "sound", "text": "x"}\n'
    with pytest.raises(ValueError, match=f"d.jsonl, line 2: .*{said}"):
        read_texts(file_of(tmp_path, f"{sound}{line}\n", "d.jsonl"))


# --- judgments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "q1 0 d1 2\nq1 0 d2 -1\n",
        "q1\t0\td1\t2\r\nq1\tQ0\td2\t-1.0\r\n",
        "  q1  0 d1 2 \n\nq1 0 d2 -1\nq1 1 d1 2\n",
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t-1\n",
        "query_id\tdoc_id\trelevance\titeration\nq1\td1\t2\t0\nq1\td2\t-1\t0\n",
        "\ufeffqid iter docno rel\nq1 0 d1 2.0\nq1 0 d2 -1\n",
    ],
)
def test_judgments_are_read_from_their_columns(tmp_path, content):
    assert read_qrels(file_of(tmp_path, content, "qrels")) == {"q1": {"d1": 2, "d2": -1}}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("q1 0 a 0", r"line 2: ids must be unique, got \('q1', 'a'\).*'0'; it has '2' in .*line 1"),
        ("q1 0 b", "needed 'query_id 0 doc_id relevance'"),
        ("q1 b 2", "needed 'query_id 0 doc_id relevance'"),
        ("q1 0 b 2 x", "needed 'query_id"),
        ("q1 b 2 0", "needed 'query_id"),
        ("q1 0 b 1.5", "whole number"),
        ("q1 0 b 1e0", "whole number"),
        ("q1 0 b ²", "whole number"),
        ("q1 0 b ٢", "whole number"),
        ("q1 0 b --2", "whole number"),
        ("q1 0 b nan", "whole number"),
        ("q1 0 b " + "9" * 5000, "whole number"),
        ("q1 0 b 1000001", "at most 1000000"),
        ("q1 0 b\u00a0c 2", "needed an id"),
        ("query-id corpus-id score", "needed 'query_id"),
    ],
)
def test_a_judgment_that_could_be_misread_is_refused_by_line(tmp_path, line, said):
    with pytest.raises(ValueError, match=rf"qrels, line 2: .*{said}|{said}"):
        read_qrels(file_of(tmp_path, f"q1 0 a 2\n{line}\n", "qrels"))


# --- runs -------------------------------------------------------------------------------------


def test_a_run_is_read_by_its_scores(tmp_path):
    run = "q1 Q0 d1 1 5.5 t\r\nq1 Q0 d2 2 5.5 t\nq2 0 d1 1 -1e-3 t\nq1 Q0 d3 3 .5 t\n"
    expected = {"q1": {"d1": 5.5, "d2": 5.5, "d3": 0.5}, "q2": {"d1": -0.001}}
    assert read_run(file_of(tmp_path, gzipped(run.encode()), "run")) == expected
    unranked = "q1 Q0 d1 0 1 t\nq1 Q0 d2 0 2 t\n"
    assert read_run(file_of(tmp_path, unranked, "run"))["q1"] == {"d1": 1.0, "d2": 2.0}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("q1 Q0 a 2 5.0 t", r"line 2: ids must be unique, got \('q1', 'a'\).*line 1"),
        ("q1 Q0 a 2 1.0 t", "line 2: ids must be unique"),
        ("q1 Q0 b 2 1.0", "line 2: needed six columns.*got 5"),
        ("q1 b 2", "line 2: needed six columns.*got 3"),
        ("q1 Q0 b 2 1.0 my tag", "line 2: needed six columns.*got 7"),
        ("q1 Q0 b 2 nan t", "line 2: .*a finite one for the score"),
        ("q1 Q0 b 2 -inf t", "line 2: .*a finite one for the score"),
        ("q1 Q0 b 2 1e999 t", "line 2: needed a finite score"),
        ("q1 Q0 b 2 1_0 t", "line 2: .*a finite one for the score"),
        ("q1 Q0 b 1.0 2 t", "line 2: .*whole number for the rank"),
        ("q1 b Q0 2 1.0 t", "line 2: needed 'query_id Q0"),
        ("q1 Q0 b 2 7.5 t", "rank 1 with 5.0 .*rank 2 with 7.5 .*minus the distance"),
    ],
)
def test_a_run_that_could_be_misread_is_refused(tmp_path, line, said):
    with pytest.raises(ValueError, match=f"run.*{said}"):
        read_run(file_of(tmp_path, f"q1 Q0 a 1 5.0 t\n{line}\n", "run"))


@pytest.mark.parametrize("depth", [0, -1, 1.5, True, "10"])
def test_a_depth_is_a_number_of_passages(tmp_path, depth):
    with pytest.raises((TypeError, ValueError), match="depth is .*needed a whole number"):
        read_run(file_of(tmp_path, "q1 Q0 a 1 5.0 t\n", "run"), depth=depth)


# --- together ---------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    return {
        "queries": file_of(tmp_path, "q1\tcoral reef\n", "q.tsv"),
        "docs": file_of(tmp_path, "d1\tcorals\nd2\tthe sea\n", "d.tsv"),
        "qrels": file_of(tmp_path, "q1 0 d1 1\n", "qrels"),
    }


def test_ids_with_spaces_at_their_ends_meet(own):
    own["docs"].write_text("d1 \tcorals\n")
    own["queries"].write_text(" q1\tcoral reef\n")
    (judged,) = load_collection(**own).sample(1).judged
    assert (judged.query, judged.text) == ("coral reef", "corals")


def test_exchanged_files_are_refused(own):
    with pytest.raises(ValueError, match="needed queries that are judged .*'d1'.*'q1'.*swapped"):
        load_collection(**own | {"queries": own["docs"], "docs": own["queries"]})
    with pytest.raises(ValueError, match="q.tsv, line 1: needed 'query_id"):
        load_collection(**own | {"qrels": own["queries"]})
    with pytest.raises(ValueError, match="qrels, line 1: needed 'id<TAB>text'"):
        load_collection(**own | {"docs": own["qrels"]})


def test_judgments_of_other_docs_are_refused(own):
    own["qrels"].write_text("q1 0 D1 1\nq1 0 D2 0\n")
    with pytest.raises(ValueError, match="needed docs that are judged in .*such as 'd1'.*'D1'"):
        load_collection(**own)


@pytest.mark.parametrize("sources", [(None,), (5,), (["embedded"],), ({"queries": "q"},)])
def test_what_is_no_id_is_refused_by_type(sources):
    with pytest.raises(TypeError, match='needed "embedded" or an ir_datasets id'):
        load_collection(*sources)


def test_a_file_in_the_place_of_an_id_is_told_where_it_belongs(own):
    with pytest.raises(ValueError, match="give your own files by queries="):
        load_collection(str(own["docs"]))
    with pytest.raises(TypeError, match="needed the path of a file of docs, got list"):
        load_collection(**own | {"docs": [own["docs"]]})
