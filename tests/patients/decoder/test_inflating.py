"""A deflated dataset is inflated to the size that its header announces, at most."""

from __future__ import annotations

import contextlib
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import ImageError
from patients.decoder import inflating
from patients.decoder.inflating import inflate


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def inflated(data: bytes) -> bytes:
    out = io.BytesIO()
    inflate(io.BytesIO(data), out)
    return out.getvalue()


@given(st.binary(max_size=5000), st.integers(1, 400))
def test_what_was_deflated_comes_back(data: bytes, times: int) -> None:
    assert inflated(deflate(data * times)) == data * times


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_a_dataset_that_is_cut_off_is_refused(data: bytes, draw: st.DataObject) -> None:
    whole = deflate(data)
    cut = whole[: draw.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(ImageError) as refused:
        inflated(cut)
    assert refused.value.reason_code == "truncated_deflated"


@given(st.binary(min_size=20, max_size=500))
def test_damaged_bytes_raise_no_other_error(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        inflated(data)


def test_no_more_is_written_than_the_limit_and_one_step() -> None:
    out = io.BytesIO()
    with pytest.raises(ImageError) as refused:
        inflate(io.BytesIO(deflate(bytes(100 * 1024 * 1024))), out)
    assert refused.value.reason_code == "inflated_too_large"
    assert out.tell() <= inflating.MAX_HEADER_BYTES + 1024 * 1024
