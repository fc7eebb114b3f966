"""Files that contradict the record; a person decides about them.

Resolving them is `patients.resolutions`.
"""

from accounts.errors import Conflict
from accounts.messages import Message
from patients.models import Instance


class Conflicting(Conflict):
    """A file contradicts the record, and a person has to decide which is right.

    Args:
        message: What contradicts, without anything of the stored object.
        conflicts_with: The stored object, or one of the stored study.
    """

    def __init__(self, message: Message, *, conflicts_with: Instance | None) -> None:
        super().__init__(message)
        self.conflicts_with = conflicts_with
