"""Receive the files of a form: write them to disk, hash them, enforce limits."""

import hashlib
from collections.abc import Mapping
from typing import IO, Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from accounts.errors import TooLarge
from patients import messages
from patients.files.temporary import new_temporary_file

# The name of a file whose name is empty without its folders.
NAMELESS = "unnamed"


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


class LimitedRequest(HttpRequest):
    """A request as `LimitedUploadHandler` marks it."""

    too_large: bool


class KeepingMultiPartParser(MultiPartParser):
    """Django's parser, but a file with a name like `..` or `/` is kept."""

    def sanitize_file_name(self, file_name: str) -> str:
        """Return a safe file name, never an empty one."""
        return super().sanitize_file_name(file_name) or NAMELESS


class LimitedUploadHandler(FileUploadHandler):
    """Write each file to disk and hash it; discard files over the limit.

    A file over MAX_FILE_BYTES does not stop the request: the other files are accepted.
    A request over MAX_REQUEST_BYTES is not read: `request.too_large` is set, and
    `check_request_size` answers 413.
    """

    chunk_size = 256 * 1024
    file: LimitedUploadedFile
    _parsing = False

    def handle_raw_input(
        self,
        input_data: Any,
        META: Mapping[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict] | None:
        """Parse the request; return nothing if it is too large."""
        if self._parsing:
            return None
        if content_length <= settings.MAX_REQUEST_BYTES:
            self._parsing = True
            return KeepingMultiPartParser(META, input_data, [self], encoding).parse()
        if self.request is not None:
            cast("LimitedRequest", self.request).too_large = True
        return QueryDict(encoding=encoding), MultiValueDict()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Open a temporary file for the next file of the form."""
        super().new_file(*args, **kwargs)
        self.file = LimitedUploadedFile(
            new_temporary_file(),
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
