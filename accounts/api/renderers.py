"""Renderers that let a client accept a file; errors are still JSON."""

import json
from typing import Any

from rest_framework.renderers import BaseRenderer


class BinaryRenderer(BaseRenderer):
    """Base of the media types whose bytes are an HttpResponse already."""

    charset = None
    render_style = "binary"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Any = None,
    ) -> bytes:
        """Return problem details."""
        return json.dumps(data).encode()


class PngRenderer(BinaryRenderer):
    """Lets a client accept image/png."""

    media_type = "image/png"
    format = "png"


class DicomRenderer(BinaryRenderer):
    """Lets a client accept application/dicom."""

    media_type = "application/dicom"
    format = "dcm"


class FileRenderer(BinaryRenderer):
    """Lets a client accept application/octet-stream."""

    media_type = "application/octet-stream"
    format = "bin"
