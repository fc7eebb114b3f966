"""How the bytes of a form arrive: to disk, hashed, and never more than allowed."""

import hashlib
from collections.abc import Mapping
from typing import Any, BinaryIO

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from accounts.errors import TooLarge
from patients import messages
from patients.files.temporary import new_temporary_file

# Stands for a file name of which nothing is left without its folders.
NAMELESS = "unnamed"


class LimitedUploadedFile(UploadedFile):
    """A file of a form, on disk until the request ends.

    Attributes:
        sha256: Of the bytes as sent, in hexadecimal.
        received_bytes: How many came.
        too_large: Over MAX_FILE_BYTES: the bytes were thrown away, the file is empty.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        content_type: str,
        charset: str | None,
        content_type_extra: Mapping[str, bytes] | None,
    ) -> None:
        super().__init__(file, name, content_type, 0, charset, content_type_extra)
        self.sha256 = ""
        self.received_bytes = 0
        self.too_large = False

    def temporary_file_path(self) -> str:
        """Return where the bytes are, while the file is open."""
        return self.file.name


class KeepingMultiPartParser(MultiPartParser):
    """Django's parser, but a file whose name is none (`..`, `/`) is not left out."""

    def sanitize_file_name(self, file_name: str) -> str:
        """Return what may be used of a name, and where nothing may, a word for it."""
        return super().sanitize_file_name(file_name) or NAMELESS


class LimitedUploadHandler(FileUploadHandler):
    """Write each file to disk and hash it; throw away what is over the limit of a file.

    A file over MAX_FILE_BYTES does not stop the request: its siblings are taken.
    A request over MAX_REQUEST_BYTES is not read at all: `request.too_large` is set,
    and `check_request_size` turns that into 413.
    """

    chunk_size = 256 * 1024
    file: LimitedUploadedFile
    _parsing = False

    def handle_raw_input(
        self,
        input_data: Any,
        META: Mapping[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: bytes,
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict] | None:
        """Read the request so that no file is left out; nothing if it is too large."""
        if self._parsing:
            return None
        if content_length <= settings.MAX_REQUEST_BYTES:
            self._parsing = True
            return KeepingMultiPartParser(META, input_data, [self], encoding).parse()
        if self.request is not None:
            self.request.too_large = True
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
        """Take some bytes; from the limit on only count and hash them."""
        self._hash.update(raw_data)
        self.file.received_bytes += len(raw_data)
        if self.file.too_large:
            return
        if self.file.received_bytes > settings.MAX_FILE_BYTES:
            self.file.too_large = True
            self.file.file.seek(0)
            self.file.file.truncate()
            return
        self.file.write(raw_data)

    def file_complete(self, file_size: int) -> LimitedUploadedFile:
        """Give the file with its hash and size, ready to be read from its start."""
        self.file.flush()
        self.file.seek(0)
        self.file.size = 0 if self.file.too_large else file_size
        self.file.sha256 = self._hash.hexdigest()
        return self.file

    def upload_interrupted(self) -> None:
        """Forget a file whose sender went away; its temporary file goes with it."""
        self.file.close()


def check_request_size(request: HttpRequest) -> None:
    """Refuse a request over MAX_REQUEST_BYTES, before or after its body was parsed.

    Raises:
        TooLarge: Its Content-Length says more than is taken at once.
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
