"""The decoder child may die; the parent lives and starts another."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jpeg_ls
import numpy as np
import pytest
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pytest_django import Settings

from accounts.errors import InvalidInput, Unavailable
from ml.pixels import display_frame
from patients import decode
from patients.decoder.process import DecoderProcess
from tests.dicom_factory import encoded, grey_pixels, image, jpeg_image, png, written

Store = Callable[[bytes], Path]


@pytest.fixture
def stored(tmp_path: Path) -> Store:
    """Return what writes bytes to a new file."""
    count = iter(range(1000))

    def write(content: bytes) -> Path:
        path = tmp_path / f"{next(count)}.dcm"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def fresh_child() -> Iterator[None]:
    """Give a test a child of its own, started with the test's limits."""
    decode._slot.stop()
    decode._slot = decode._Slot()
    yield
    decode._slot.stop()
    decode._slot = decode._Slot()


def child_pid() -> int:
    decode.warm_up()
    pid = decode._slot.decoder().pid
    assert pid is not None
    return pid


def hang(path: Path) -> Path:
    """Make a pipe of which nobody will ever write: reading it takes for ever."""
    os.mkfifo(path)
    return path


def test_decoding_gives_the_facts_of_an_image(stored: Store) -> None:
    facts = decode.pixel_facts(stored(written(image())))
    assert (facts.rows, facts.columns, facts.frames) == (64, 48, 1)
    assert facts.colour is False
    assert facts.pixel_sha256 is not None


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_syntaxes_have_one_pixel_hash(stored: Store, syntax: str) -> None:
    dataset = image()
    plain = decode.pixel_facts(stored(written(dataset)))
    assert decode.pixel_facts(stored(encoded(dataset, syntax))) == plain


def test_different_pixels_have_different_hashes(stored: Store) -> None:
    """A changed value, another shape of the same values, signed values."""
    pixels = grey_pixels()
    one = pixels.copy()
    one[3, 3] += 1
    images = [
        image(pixels=pixels),
        image(pixels=one),
        image(pixels=pixels.reshape(48, 64)),
        image(pixels=pixels, PixelRepresentation=1),
    ]
    hashes = {decode.pixel_facts(stored(written(f))).pixel_sha256 for f in images}
    assert len(hashes) == 4


def test_frames_are_hashed_one_after_the_other(stored: Store) -> None:
    dataset = image(NumberOfFrames=3)
    dataset.PixelData = dataset.PixelData * 3
    facts = decode.pixel_facts(stored(written(dataset)))
    assert facts.frames == 3
    assert facts.pixel_sha256 is not None


def test_hashing_that_takes_too_long_is_stopped(
    stored: Store, settings: Settings
) -> None:
    dataset = image(NumberOfFrames=50)
    dataset.PixelData = dataset.PixelData * 50
    path = stored(written(dataset))
    decode.warm_up()
    head, _ = decode._decode("facts", path, budget_s=0.0)
    assert head["pixel_sha256"] is None
    assert head["frames"] == 50


def test_display_gives_the_pixels_of_the_reader(stored: Store) -> None:
    dataset = image(WindowCenter=2000, WindowWidth=1000)
    shown = decode.display(stored(written(dataset)))
    assert shown.dtype == np.uint16
    np.testing.assert_array_equal(shown, display_frame(dataset))


def test_the_greatest_difference_is_in_grey_levels(stored: Store) -> None:
    pixels = grey_pixels()
    other = pixels.copy()
    other[5, 5] = other[5, 5] - 160 if other[5, 5] > 2000 else other[5, 5] + 160
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    a = stored(written(image(pixels=pixels, **window)))
    b = stored(written(image(pixels=other, **window)))
    assert decode.greatest_difference(a, a) == 0
    assert decode.greatest_difference(a, b) == pytest.approx(160 / 4095 * 255, abs=0.05)
    wide = stored(written(image(pixels=pixels.reshape(48, 64), **window)))
    assert decode.greatest_difference(a, wide) == 255


def test_a_lossy_copy_is_close(stored: Store) -> None:
    smooth = np.linspace(20, 230, 64 * 48).reshape(64, 48)
    eight = image(
        pixels=smooth.astype(np.uint16), BitsAllocated=8, BitsStored=8, HighBit=7
    )
    eight.PixelData = smooth.astype(np.uint8).tobytes()
    lossless, lossy = stored(written(eight)), stored(jpeg_image(eight))
    assert decode.greatest_difference(lossless, lossy) <= 2


def test_a_picture_is_encoded_without_loss(stored: Store) -> None:
    picture = decode.encode_picture(stored(png(grey_pixels())))
    assert (picture.rows, picture.columns) == grey_pixels().shape
    assert (picture.samples, picture.bits, picture.lossy) == (1, 16, False)
    assert picture.transfer_syntax_uid == JPEGLSLossless
    assert picture.native_bytes == grey_pixels().nbytes
    pixels = jpeg_ls.decode(np.frombuffer(picture.data, np.uint8))
    np.testing.assert_array_equal(pixels, grey_pixels())


def test_damaged_pixels_are_refused(stored: Store) -> None:
    content = encoded(image(), JPEG2000Lossless)
    at = content.index(b"\xff\x4f\xff\x51")
    broken = content[: at + 40] + bytes(400) + content[at + 440 :]
    with pytest.raises(InvalidInput) as refused:
        decode.pixel_facts(stored(broken))
    assert refused.value.reason_code == "unreadable_pixels"


def test_a_codestream_larger_than_its_header_says_is_refused(stored: Store) -> None:
    """A bomb: 64 x 48 in the header, 50,000 x 50,000 in the JPEG 2000 stream."""
    content = bytearray(encoded(image(), JPEG2000Lossless))
    at = content.index(b"\xff\x4f\xff\x51") + 8
    content[at : at + 8] = (50_000).to_bytes(4, "big") * 2
    with pytest.raises(InvalidInput) as refused:
        decode.pixel_facts(stored(bytes(content)))
    assert refused.value.reason_code == "too_many_pixels"


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_child")
def test_a_decoder_that_hangs_is_killed(
    stored: Store, tmp_path: Path, settings: Settings
) -> None:
    decode.warm_up()
    settings.DECODE_TIMEOUT_S = 0.5
    hanging = child_pid()
    began = time.monotonic()
    with pytest.raises(InvalidInput) as refused:
        decode.pixel_facts(hang(tmp_path / "never.dcm"))
    assert refused.value.reason_code == "decoder_killed"
    assert time.monotonic() - began < 3
    assert is_gone(hanging)
    settings.DECODE_TIMEOUT_S = 20
    assert decode.pixel_facts(stored(written(image()))).rows == 64


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_child")
def test_a_file_that_needs_too_much_memory_is_refused(
    stored: Store, settings: Settings
) -> None:
    """8,000 x 8,000 pixels of 16 bits in RLE unpack to more than the child may have."""
    settings.DECODE_MEMORY_BYTES = 700 * 1024 * 1024
    dataset = image()
    small = encoded(dataset, RLELossless)
    hungry = rle_bomb(rows=8000, columns=8000)
    with pytest.raises(InvalidInput) as refused:
        decode.display(stored(hungry))
    assert refused.value.reason_code in ("decoder_killed", "unreadable_pixels")
    assert decode.pixel_facts(stored(small)).rows == 64


def rle_bomb(*, rows: int, columns: int) -> bytes:
    """Write an RLE image of zeros: runs of 128 bytes from 2 (PS3.5 annex G)."""
    runs = b"\x81\0" * (rows * columns // 128)
    header = [2, 64, 64 + len(runs), *[0] * 13]
    frame = np.array(header, "<u4").tobytes() + runs * 2
    dataset = image(Rows=rows, Columns=columns)
    dataset.file_meta.TransferSyntaxUID = RLELossless
    item = b"\xfe\xff\0\xe0"
    dataset.PixelData = (
        item + bytes(4) + item + len(frame).to_bytes(4, "little") + frame
    )
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return written(dataset)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_child")
def test_a_dead_decoder_process_is_replaced(stored: Store) -> None:
    path = stored(written(image()))
    first = child_pid()
    os.kill(first, signal.SIGKILL)
    assert decode.pixel_facts(path).rows == 64
    assert child_pid() != first


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_child")
def test_a_decoder_that_crashes_again_and_again_refuses_the_file(
    stored: Store, tmp_path: Path
) -> None:
    """What crashes: here, somebody who kills every child that takes the file up."""
    stopping = threading.Event()

    def killer() -> None:
        while not stopping.wait(0.02):
            slot = decode._slot.decoder()
            if slot.pid and slot._pending == b"" and busy.is_set():
                os.kill(slot.pid, signal.SIGSEGV)

    busy = threading.Event()
    decode.warm_up()
    thread = threading.Thread(target=killer)
    thread.start()
    busy.set()
    try:
        with pytest.raises(InvalidInput) as refused:
            decode.pixel_facts(hang(tmp_path / "crash.dcm"))
        assert refused.value.reason_code == "decoder_killed"
    finally:
        stopping.set()
        thread.join()
    assert decode.pixel_facts(stored(written(image()))).rows == 64


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_child")
def test_a_decoder_that_is_busy_too_long_is_a_temporary_fault(
    stored: Store, tmp_path: Path, settings: Settings
) -> None:
    settings.DECODE_TIMEOUT_S = 1.0
    decode.warm_up()
    path, never = stored(written(image())), hang(tmp_path / "never.dcm")
    outcome: list[str] = []

    def first() -> None:
        try:
            decode.pixel_facts(never)
        except InvalidInput as error:
            outcome.append(error.reason_code)

    thread = threading.Thread(target=first)
    thread.start()
    time.sleep(0.1)
    with pytest.raises(Unavailable) as busy:
        decode.pixel_facts(path)
    thread.join()
    assert busy.value.reason_code == "decoder_busy"
    assert busy.value.headers["Retry-After"] == "10"
    assert outcome == ["decoder_killed"]


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_child")
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_unread_result_is_never_given_to_another_caller(
    stored: Store, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    first, second = (stored(written(image(pixels=grey_pixels(n)))) for n in (1, 2))
    expected = decode.display(second)

    def fail(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(DecoderProcess, "_fill", fail)
        with pytest.raises(error):
            decode.display(first)
    assert np.array_equal(decode.display(second), expected)


def test_each_thread_gets_its_own_result(stored: Store) -> None:
    images = [image(pixels=grey_pixels(seed)) for seed in range(4)]
    paths = [stored(written(f)) for f in images]
    expected = [decode.pixel_facts(path).pixel_sha256 for path in paths]
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(5):
            if decode.pixel_facts(paths[number]).pixel_sha256 != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_child")
def test_the_decoder_process_outlives_the_thread_that_started_it(stored: Store) -> None:
    """PDEATHSIG follows the thread that forked, and threads of requests end."""
    path = stored(written(image()))
    thread = threading.Thread(target=decode.warm_up)
    thread.start()
    thread.join()
    pid = child_pid()
    time.sleep(0.1)
    decode.pixel_facts(path)
    assert child_pid() == pid


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_process_gets_its_own_decoder_process(stored: Store) -> None:
    path = stored(written(image()))
    ours = child_pid()
    expected = decode.pixel_facts(path).pixel_sha256
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        ok = decode.pixel_facts(path).pixel_sha256 == expected
        other = decode._slot.decoder().pid
        decode._slot.stop()
        os.write(write, f"{ok} {other != ours}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"True True"
    os.close(read)
    os.close(write)
    assert child_pid() == ours
    assert decode.pixel_facts(path).pixel_sha256 == expected


def test_the_decoder_process_dies_with_a_killed_parent() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        child = DecoderProcess(memory_bytes=2 << 30, folder=Path(__file__).parents[2])
        child.start()
        os.write(write, str(child.pid).encode())
        time.sleep(60)
    grandchild = int(os.read(read, 100))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    end = time.monotonic() + 5
    while not is_gone(grandchild) and time.monotonic() < end:
        time.sleep(0.02)
    assert is_gone(grandchild)
    os.close(read)
    os.close(write)


def is_gone(pid: int) -> bool:
    """Whether the process ended (a zombie of somebody else's has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_the_decoder_process_has_no_django_and_no_secrets() -> None:
    environment = Path(f"/proc/{child_pid()}/environ").read_bytes()
    for name in (b"SECRET_KEY", b"DATABASE_URL", b"REDIS_URL", b"PASSWORD"):
        assert name not in environment
    maps = Path(f"/proc/{child_pid()}/maps").read_text()
    assert "psycopg" not in maps


@pytest.mark.slow
def test_a_large_uncompressed_image_is_decoded_quickly(stored: Store) -> None:
    """2000 x 2000 of 16 bits: 25 ms on an idle machine, ten times that anywhere."""
    path = stored(written(image(pixels=grey_pixels(rows=2000, columns=2000))))
    decode.pixel_facts(path)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        decode.pixel_facts(path)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.25


def test_real_files_are_decoded(chestx_data: Path) -> None:
    """One image under three headers has one hash; colour is colour, two frames two."""
    folder = chestx_data / "samples" / "dicom"
    facts = {p.name: decode.pixel_facts(p) for p in sorted(folder.glob("*.dcm"))}
    one = {facts[f"dx_udacity_test{n}.dcm"].pixel_sha256 for n in (1, 4, 5)}
    assert len(one) == 1
    assert facts["us_rgb.dcm"].colour
    assert facts["sc_rgb_2frame.dcm"].frames == 2
    assert not facts["ct_jpeg2000.dcm"].colour


@pytest.mark.slow
def test_the_largest_picture_is_stored_small(stored: Store) -> None:
    """400 MB of pixels in a file of 400 kB."""
    bomb = np.zeros((8192, 8192, 3), np.uint16)
    bomb[1000:3000, 2000:5000] = (40_000, 50_000, 12_000)
    picture = decode.encode_picture(stored(png(bomb)))
    assert picture.transfer_syntax_uid == JPEGLSLossless
    assert picture.native_bytes == bomb.nbytes
    assert len(picture.data) < bomb.nbytes / 500
