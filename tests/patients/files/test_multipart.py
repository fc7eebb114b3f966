"""Each part of a multipart body is a file or a field, or the body is refused."""

from __future__ import annotations

import base64
import io
import quopri
from collections.abc import Callable

import pytest

from patients.files.multipart import (
    IncompleteBodyError,
    MalformedBodyError,
    MultipartReader,
    Part,
    decoded_text,
)

NAME = b'name="file"'


def part(disposition: bytes, content: bytes = b"abc", *, headers: bytes = b"") -> bytes:
    return (
        b"--BB\r\nContent-Disposition: form-data; "
        + disposition
        + b"\r\n"
        + headers
        + b"\r\n"
        + content
        + b"\r\n"
    )


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--BB--\r\n"


def read(data: bytes, *, chunk_size: int = 7) -> list[tuple[Part, bytes]]:
    reader = MultipartReader(io.BytesIO(data).read, b"BB", chunk_size)
    return [(part, b"".join(content)) for part, content in reader]


def only(data: bytes) -> tuple[Part, bytes]:
    [one] = read(data)
    return one


NAMES = {
    "latin-1 bytes": ('filename="röntgen.dcm"'.encode("latin-1"), "röntgen.dcm"),
    "utf-8 bytes": ('filename="röntgen.dcm"'.encode(), "röntgen.dcm"),
    "other 8-bit bytes": (b'filename="\xff\xfe\x81"', "\xff\xfe\x81"),
    "RFC 5987": (b"filename*=UTF-8''r%C3%B6ntgen.dcm", "röntgen.dcm"),
    "RFC 5987 in Latin-1": (b"filename*=iso-8859-1'de'r%F6ntgen.dcm", "röntgen.dcm"),
    "both": (b"filename=\"rontgen.dcm\"; filename*=UTF-8''r%C3%B6.dcm", "rö.dcm"),
    "both, the other way": (
        b"filename*=UTF-8''r%C3%B6.dcm; filename=\"rontgen.dcm\"",
        "rö.dcm",
    ),
    "RFC 2231 in pieces": (b'filename*0="ro"; filename*1="ntgen.dcm"', "rontgen.dcm"),
    "unknown charset": (b"filename*=x-martian''abc.dcm", "abc.dcm"),
    "no such percent code": (b"filename*=UTF-8''%ZZ%.dcm", "%ZZ%.dcm"),
    "bytes that do not decode": (b"filename*=UTF-8''%FF.dcm", "\ufffd.dcm"),
    "empty": (b'filename=""', ""),
    "without a value": (b"filename", ""),
    "a folder": (b'filename="/home/user/a.dcm"', "/home/user/a.dcm"),
    "a folder on Windows": (rb'filename="C:\scans\a.dcm"', r"C:\scans\a.dcm"),
    "quotes": (rb'filename="a\"b\".dcm"', 'a"b".dcm'),
    "percent signs": (b'filename="100%25 %22.dcm"', "100%25 %22.dcm"),
    "semicolons": (b'filename="a;name=patient_id;.dcm"', "a;name=patient_id;.dcm"),
    "300 characters": (b'filename="' + b"x" * 300 + b'.dcm"', "x" * 300 + ".dcm"),
    "3000 characters": (b"filename*=UTF-8''" + b"%C3%B6" * 1000, "ö" * 1000),
    "NUL": (b'filename="a\x00b.dcm"', "a\x00b.dcm"),
    "only dots": (b'filename=".."', ".."),
    "no quotes": (b"filename=a.dcm", "a.dcm"),
    "capital letters": (b'FileName="a.dcm"', "a.dcm"),
}


@pytest.mark.parametrize(("disposition", "name"), NAMES.values(), ids=NAMES)
def test_a_file_with_any_name_is_a_file(disposition: bytes, name: str) -> None:
    sent, content = only(body(part(NAME + b"; " + disposition)))
    assert (sent.name, sent.file_name, content) == ("file", name, b"abc")
    assert sent.is_file


@pytest.mark.parametrize("header", [b"image/png", b"application/dicom; x=y"])
def test_a_part_with_the_type_of_an_image_is_a_file_without_a_name(
    header: bytes,
) -> None:
    sent, _ = only(body(part(NAME, headers=b"Content-Type: " + header + b"\r\n")))
    assert sent.is_file
    assert sent.file_name is None


def test_a_part_without_a_file_name_is_a_field() -> None:
    sent, content = only(body(part(b"name=patient_id", b"P-1")))
    assert (sent.name, sent.is_file, content) == ("patient_id", False, b"P-1")


@pytest.mark.parametrize(
    "header",
    [
        b"--BB\r\n\r\nabc\r\n",
        b"--BB\r\nContent-Type: image/png\r\n\r\nabc\r\n",
        b"--BB\r\nno header at all\r\n\r\nabc\r\n",
        part(b'filename="a.dcm"'),
        part(b'name=""; filename="a.dcm"'),
    ],
)
def test_a_part_without_a_name_is_not_lost(header: bytes) -> None:
    sent, content = only(body(header))
    assert (sent.name, content) == ("", b"abc")


CONTENTS = {
    "empty": b"",
    "line ends": b"\r\n\r\n",
    "the boundary inside a line": b"ab--BB\r\ncd --BB-- ef",
    "a line that begins like the boundary": b"ab\r\n--BBx\r\ncd\r\n--B\r\n--BB -",
    "a boundary after a bare line feed": b"ab\n--BB\ncd\r--BB--",
    "hyphens": b"\r\n--\r\n-\r\n--B",
    "all bytes": bytes(range(256)) * 3,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_is_what_was_sent_however_it_is_cut(content: bytes) -> None:
    sent = part(NAME + b"; filename=a", content)
    data = b"remark\r\n" + body(sent, part(b"name=b", b"2"), sent) + b"\r\nend"
    for chunk_size in (*range(1, 40), 10_000):
        contents = [content for _, content in read(data, chunk_size=chunk_size)]
        assert contents == [content, b"2", content], chunk_size


def test_a_body_without_parts_is_empty() -> None:
    assert read(b"--BB--") == []


def test_a_header_directly_before_the_boundary_is_an_empty_part() -> None:
    sent, content = only(
        b"--BB\r\nContent-Disposition: form-data; name=a\r\n\r\n--BB--\r\n"
    )
    assert (sent.name, content) == ("a", b"")


def test_blanks_after_a_boundary_are_no_content() -> None:
    data = body(part(NAME), part(NAME)).replace(b"--BB\r\n", b"--BB \t\r\n")
    assert [content for _, content in read(data)] == [b"abc", b"abc"]


def test_a_body_cut_anywhere_before_its_closing_boundary_is_incomplete() -> None:
    whole = body(part(NAME + b"; filename=a"), part(b"name=b", b"2"))
    closing = whole.rindex(b"--BB--") + len(b"--BB--")
    for end in range(closing):
        with pytest.raises(IncompleteBodyError):
            read(whole[:end])
    assert len(read(whole[:closing])) == 2


@pytest.mark.parametrize(
    "data",
    [
        part(NAME).replace(b"--BB", b"--CC") + body(part(NAME)),
        body(part(NAME)) + body(part(NAME)),
        body(part(NAME)) + b"x" * 100_000,
        b"x" * 100_000 + body(part(NAME)),
        body(part(b"name=a; name=b")),
        body(part(NAME, headers=b"Content-Disposition: form-data; name=b\r\n")),
        body(part(NAME, headers=b"Content-Type: multipart/mixed; boundary=C\r\n")),
        body(part(NAME, headers=b"Content-Transfer-Encoding: x-uue\r\n")),
        body(part(NAME, headers=b"X: " + b"y" * 20_000 + b"\r\n")),
        body(part(b"name=a; filename*=''x; filename*0=x")),
        b"--BB\r\nContent-Disposition: form-data; name=a\r\n" + body(part(NAME)),
    ],
)
def test_a_body_that_would_lose_a_part_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        read(data)


@pytest.mark.parametrize("line", ["7bit", "8bit", "Binary", " binary "])
def test_a_transfer_encoding_without_a_code_changes_nothing(line: str) -> None:
    header = f"Content-Transfer-Encoding: {line}\r\n".encode()
    assert only(body(part(NAME, b"=41", headers=header)))[1] == b"=41"


@pytest.mark.parametrize("chunk_size", [1, 3, 50, 5000])
@pytest.mark.parametrize(
    ("name", "encode"),
    [("base64", base64.encodebytes), ("Quoted-Printable", quopri.encodestring)],
)
def test_an_encoded_part_is_decoded(
    name: str, encode: Callable[[bytes], bytes], chunk_size: int
) -> None:
    content = bytes(range(256)) * 5
    header = f"Content-Transfer-Encoding: {name}\r\n".encode()
    data = body(part(NAME, encode(content), headers=header))
    assert read(data, chunk_size=chunk_size)[0][1].rstrip(b"\r\n") == content


@pytest.mark.parametrize("content", [b"YWJ", b"YW*=", b"YQ==YWJj", b"Y" * 9])
def test_broken_base64_is_malformed(content: bytes) -> None:
    header = b"Content-Transfer-Encoding: base64\r\n"
    for chunk_size in (1, 100):
        with pytest.raises(MalformedBodyError):
            read(body(part(NAME, content, headers=header)), chunk_size=chunk_size)


def test_folded_headers_are_read() -> None:
    sent, _ = only(body(part(b'name="file";\r\n filename="a.dcm"')))
    assert (sent.name, sent.file_name) == ("file", "a.dcm")


def test_text_is_utf_8_unless_its_part_states_another_character_set() -> None:
    header = b"Content-Type: text/plain; charset=ISO-8859-1\r\n"
    sent, content = only(
        body(part(b"name=a", "Jörg".encode("latin-1"), headers=header))
    )
    assert decoded_text(content, sent.charset) == "Jörg"
    assert decoded_text("Jörg".encode(), "") == "Jörg"


@pytest.mark.parametrize("data", [b"J\xf6rg", b"\xed\xa0\x80"])
@pytest.mark.parametrize("charset", ["", "us-ascii", "x-martian"])
def test_text_in_another_character_set_is_not_text(data: bytes, charset: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded_text(data, charset)
