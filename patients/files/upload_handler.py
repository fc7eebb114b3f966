"""Receive the files of a form: write them to disk, hash them, enforce limits."""

import contextlib
import hashlib
import html
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, Any, cast

from django.conf import settings
from django.core.exceptions import (
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.datastructures import MultiValueDict

from accounts.errors import ChestXError, InvalidInput, TooLarge
from patients import messages
from patients.files.multipart import (
    IncompleteBodyError,
    MalformedBodyError,
    MultipartReader,
    Part,
    decoded_text,
)
from patients.files.temporary import (
    check_quota,
    new_temporary_file,
    storage_unavailable,
)

logger = logging.getLogger(__name__)

# The name of a file whose name is empty without its folders.
NAMELESS = "unnamed"
# How much is written between two looks at the quota.
_QUOTA_STEP_BYTES = 4 * 1024 * 1024


class LimitedUploadedFile(UploadedFile):
    """A file of a form, kept on disk until the request ends.

    Attributes:
        sha256: Of the bytes as sent, in hexadecimal.
        received_bytes: Number of bytes received.
        too_large: Over MAX_FILE_BYTES: the bytes are discarded, the file is empty.
        content: The temporary file.
    """

    def __init__(
        self,
        file: IO[bytes],
        name: str | None,
        content_type: str | None,
        charset: str | None,
        content_type_extra: dict[str, bytes] | None,
    ) -> None:
        super().__init__(file, name, content_type, 0, charset, content_type_extra)
        self.content = file
        self.sha256 = ""
        self.received_bytes = 0
        self.too_large = False

    def temporary_file_path(self) -> str:
        """Return the path of the bytes while the file is open."""
        return self.content.name


@dataclass(frozen=True)
class ReceivedFile:
    """A file of a request that is refused as a whole.

    Attributes:
        sha256: "" if it was not received to its end.
    """

    name: str
    size_bytes: int | None = None
    sha256: str = ""


class RefusedBodyError(MultiPartParserError):
    """The body of a request is not taken, and none of its files is stored.

    Args:
        refusal: Why, for the sender.
        files: What was received of its files.
    """

    def __init__(
        self, refusal: ChestXError, files: Sequence[ReceivedFile] = ()
    ) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.files = tuple(files)


class LimitedRequest(HttpRequest):
    """A request as `LimitedUploadHandler` marks it."""

    too_large: bool


class LimitedUploadHandler(FileUploadHandler):
    """Write each file to disk and hash it; discard files over the limit.

    A file over MAX_FILE_BYTES does not stop the request: the other files are accepted.
    A request over MAX_REQUEST_BYTES is not read: `request.too_large` is set, and
    `check_request_size` answers 413.
    """

    chunk_size = 256 * 1024
    file: LimitedUploadedFile
    _unchecked_bytes = 0
    _written_bytes = 0

    def handle_raw_input(
        self,
        input_data: Any,
        META: Mapping[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict]:
        """Parse the request; return nothing of it if it is too large.

        Raises:
            RefusedBodyError: The body is incomplete or malformed, or a field is not
                valid UTF-8.
            TooManyFilesSent, TooManyFieldsSent, RequestDataTooBig: Over a limit.
        """
        if content_length <= settings.MAX_REQUEST_BYTES:
            self._unchecked_bytes = content_length
            return _ReceivedForm(self).parse(input_data.read, boundary)
        if self.request is not None:
            cast("LimitedRequest", self.request).too_large = True
        return QueryDict(encoding=encoding), MultiValueDict()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Open a temporary file for the next file of the form."""
        super().new_file(*args, **kwargs)
        self._check_quota(self._unchecked_bytes)
        self.file = LimitedUploadedFile(
            new_temporary_file(self._owner),
            self.file_name,
            self.content_type,
            self.charset,
            self.content_type_extra,
        )
        self._hash = hashlib.sha256()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write some bytes; beyond the limit only count and hash them."""
        self._hash.update(raw_data)
        self.file.received_bytes += len(raw_data)
        if self.file.too_large:
            return
        if self.file.received_bytes > settings.MAX_FILE_BYTES:
            self.file.too_large = True
            self.file.content.seek(0)
            self.file.content.truncate()
            return
        self.file.write(raw_data)
        self._written_bytes += len(raw_data)
        if self._written_bytes > _QUOTA_STEP_BYTES:
            self._check_quota(0)

    def _check_quota(self, more_bytes: int) -> None:
        """Check the whole request before its first file, and what is there later.

        Requests that start together may each fit: what they write is counted too.
        """
        self._written_bytes = self._unchecked_bytes = 0
        check_quota(self._owner, more_bytes=more_bytes)

    @property
    def _owner(self) -> str:
        user = getattr(self.request, "user", None)
        return str(user.pk) if user is not None and user.pk else ""

    def file_complete(self, file_size: int) -> LimitedUploadedFile:
        """Return the file with its hash and size, at its start."""
        self.file.flush()
        self.file.seek(0)
        self.file.size = 0 if self.file.too_large else file_size
        self.file.sha256 = self._hash.hexdigest()
        return self.file

    def upload_interrupted(self) -> None:
        """Close the temporary file of an interrupted upload, which deletes it."""
        self.file.close()


class FieldsOnlyHandler(LimitedUploadHandler):
    """Read a form of fields in memory; refuse one with a file.

    Every route but those that take uploads reads its forms with it.
    """

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Refuse the file, before any of it is written.

        Raises:
            InvalidInput: unexpected_file.
        """
        raise InvalidInput(messages.UNEXPECTED_FILE)


class _ReceivedForm:
    """The fields and files of a form, as they arrive."""

    def __init__(self, handler: LimitedUploadHandler) -> None:
        self.handler = handler
        self.fields = QueryDict(mutable=True, encoding="utf-8")
        self.files: MultiValueDict[str, LimitedUploadedFile] = MultiValueDict()
        self.unfinished: LimitedUploadedFile | None = None
        self.received: list[ReceivedFile] = []
        self.nameless = False
        self.wrong_fields: list[str] = []
        self.field_bytes = 0
        self.field_count = 0
        self.part_count = 0

    def parse(
        self, read: Callable[[int], bytes], boundary: bytes
    ) -> tuple[QueryDict, MultiValueDict]:
        """Receive every part; see `LimitedUploadHandler.handle_raw_input`."""
        try:
            reader = MultipartReader(read, boundary, self.handler.chunk_size)
            for part, content in reader:
                self._take(part, content)
            self._refuse_wrong_parts()
        except Exception as error:
            self._close()
            # Else some clients lose the answer, since they are still sending.
            with contextlib.suppress(UnreadablePostError):
                while read(self.handler.chunk_size):
                    pass
            if refusal := _refusal_of(error):
                raise RefusedBodyError(refusal, self._all_received()) from error
            raise
        self.fields._mutable = False
        return self.fields, self.files

    def _take(self, part: Part, content: Iterator[bytes]) -> None:
        """Receive a part, also a wrong one: what follows it may be a file."""
        self.part_count += 1
        most = (
            settings.DATA_UPLOAD_MAX_NUMBER_FILES
            + settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
        )
        if self.part_count > most:
            raise TooManyFilesSent("more parts than files and fields may be sent")
        if part.is_file:
            self._take_file(part, content)
        else:
            self._take_field(part, content)

    def _take_file(self, part: Part, content: Iterator[bytes]) -> None:
        first = next((chunk for chunk in content if chunk), b"")
        if not (first or part.file_name):
            # What browsers send where no file was chosen (HTML, 4.10.21.4).
            return
        if not part.name:
            self.nameless = True
        if len(self.received) >= settings.DATA_UPLOAD_MAX_NUMBER_FILES:
            raise TooManyFilesSent("more files than DATA_UPLOAD_MAX_NUMBER_FILES")
        name, handler = safe_file_name(part.file_name or ""), self.handler
        handler.new_file(part.name, name, part.content_type, None, part.charset, {})
        self.unfinished = handler.file
        for chunk in itertools.chain([first], content):
            handler.receive_data_chunk(chunk, handler.file.received_bytes)
        file = handler.file_complete(handler.file.received_bytes)
        self.files.appendlist(part.name, file)
        self.unfinished = None
        self.received.append(ReceivedFile(name, file.received_bytes, file.sha256))

    def _take_field(self, part: Part, content: Iterator[bytes]) -> None:
        data = bytearray()
        for chunk in content:
            data += chunk
            self._count(len(chunk))
        # As Django counts them: with `&` and `=`.
        self._count(len(part.name) + 2)
        self.field_count += 1
        if self.field_count > settings.DATA_UPLOAD_MAX_NUMBER_FIELDS:
            raise TooManyFieldsSent("more fields than DATA_UPLOAD_MAX_NUMBER_FIELDS")
        if not part.name:
            self.nameless = True
            return
        try:
            self.fields.appendlist(part.name, decoded_text(bytes(data), part.charset))
        except ValueError:
            self.wrong_fields.append(part.name)

    def _count(self, number: int) -> None:
        self.field_bytes += number
        if self.field_bytes > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestDataTooBig("more than DATA_UPLOAD_MAX_MEMORY_SIZE in fields")

    def _refuse_wrong_parts(self) -> None:
        if self.nameless:
            raise InvalidInput(messages.NAMELESS_PART)
        if self.wrong_fields:
            sentence = messages.NOT_UTF8.format({})
            raise InvalidInput(
                messages.FIELDS_NOT_UTF8,
                params={"fields": messages.FieldNames(self.wrong_fields)},
                fields={name: [sentence] for name in self.wrong_fields},
            )

    def _close(self) -> None:
        """Close all temporary files, which deletes them."""
        for _name, files in self.files.lists():
            for file in files:
                file.close()
        if self.unfinished is not None:
            self.handler.upload_interrupted()

    def _all_received(self) -> list[ReceivedFile]:
        """Return the files received, the unfinished one too."""
        if self.unfinished is None:
            return self.received
        return [
            *self.received,
            ReceivedFile(self.unfinished.name or "", self.unfinished.received_bytes),
        ]


def _refusal_of(error: Exception) -> ChestXError | None:
    """Return the refusal of a body that cannot be received, if it is one."""
    if isinstance(error, ChestXError):
        return error
    if isinstance(error, IncompleteBodyError | UnreadablePostError):
        return InvalidInput(messages.INCOMPLETE_REQUEST)
    if isinstance(error, MalformedBodyError):
        return InvalidInput(messages.MALFORMED_REQUEST, params={"detail": str(error)})
    if isinstance(error, OSError):
        logger.error("a file cannot be received: %s", error.strerror)
        return storage_unavailable()
    return None


def safe_file_name(name: str) -> str:
    """Return a file name without folders and control characters, never an empty one."""
    name = html.unescape(name).replace("\\", "/").rpartition("/")[2]
    shown = "".join(character for character in name if character.isprintable())
    return NAMELESS if shown.strip(". ") == "" else shown


def take_files_of(request: HttpRequest) -> None:
    """Let the form of a request bring files, unless it has been read already.

    The caller has checked that the user may send files.
    """
    if not hasattr(request, "_files"):
        request.upload_handlers = [LimitedUploadHandler(request)]


def read_body(request: HttpRequest) -> None:
    """Receive the whole form, so that `request.POST` and `request.FILES` have it.

    The caller has checked that the user may send files.

    Raises:
        RefusedBodyError: It has no Content-Length, is too large, incomplete or
            malformed.
    """
    length = request.META.get("CONTENT_LENGTH")
    size = int(length) if length and length.isdecimal() else None
    try:
        _check_length(request)
        take_files_of(request)
        _ = request.FILES
        check_request_size(request)
    except RefusedBodyError:
        raise
    except ChestXError as refusal:
        raise RefusedBodyError(refusal, [ReceivedFile("", size)]) from refusal
    except MultiPartParserError as error:
        malformed = InvalidInput(messages.MALFORMED_REQUEST, params={"detail": error})
        raise RefusedBodyError(malformed, [ReceivedFile("", size)]) from error
    except (TooManyFilesSent, TooManyFieldsSent, RequestDataTooBig) as error:
        raise RefusedBodyError(_too_much(error), [ReceivedFile("", size)]) from error


def _check_length(request: HttpRequest) -> None:
    """Refuse chunks: without a length WSGI reads nothing, and the form seems empty."""
    if request.META.get("CONTENT_LENGTH"):
        check_request_size(request)
        return
    error = InvalidInput(messages.NO_LENGTH)
    error.status = HTTPStatus.LENGTH_REQUIRED
    raise error


def _too_much(error: Exception) -> TooLarge:
    if isinstance(error, TooManyFilesSent):
        limit = settings.DATA_UPLOAD_MAX_NUMBER_FILES
        return TooLarge(messages.TOO_MANY_FILES, params={"limit": limit})
    return TooLarge(messages.FIELDS_TOO_LARGE)


def check_request_size(request: HttpRequest) -> None:
    """Refuse a request over MAX_REQUEST_BYTES, before or after its body was parsed.

    Raises:
        TooLarge: Its Content-Length is over the limit.
    """
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    if length > settings.MAX_REQUEST_BYTES or getattr(request, "too_large", False):
        raise TooLarge(
            messages.REQUEST_TOO_LARGE,
            params={"limit_mb": settings.MAX_REQUEST_BYTES // (1024 * 1024)},
        )
