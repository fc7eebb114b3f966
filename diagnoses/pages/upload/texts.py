"""The sentences that static/js/upload.js shows; {…} are its placeholders."""

from django.utils.translation import gettext, ngettext

from patients.messages import FIELD_LABELS

# One number of each plural category of the languages (Unicode CLDR): the script takes
# the form whose number has the same category as its count.
EXAMPLE_NUMBERS = (0, 1, 2, 3, 5, 6, 11, 21, 100)


def script_texts() -> dict[str, str | dict[int, str] | dict[str, str]]:
    """Return the sentences in the reader's language, plural forms included."""
    return {
        "queued": gettext("waiting to be sent"),
        "waiting": gettext("Waiting"),
        "checking": gettext("checking"),
        "sending": gettext("Sending {name}"),
        "progress": gettext("{done} of {total} done"),
        "pause": gettext("Pause"),
        "resume": gettext("Resume"),
        "refused": gettext("Refused"),
        "not_sent": gettext("Not sent"),
        "too_large": gettext("The file is larger than {limit} and was not sent."),
        "over_limit": gettext("The file is larger than {limit}."),
        "server_busy": gettext(
            "The server is busy. The file is sent again in {seconds} s."
        ),
        "server_unavailable": gettext(
            "The server did not accept the file. Try again later."
        ),
        "signed_out": gettext("You are signed out. Reload the page."),
        "form_expired": gettext("This form has expired. Reload the page."),
        "unreadable_answer": gettext("The server sent an unreadable answer."),
        "other_status": gettext("The server answered with status {status}."),
        "correct_first": gettext("Correct the marked entries, then send the files."),
        "carried_over": gettext(
            "These entries were sent with the files before: {entries}. Are the new "
            "files of the same patient?"
        ),
        "enter_next": gettext("Enter the next patient, then send the files."),
        "field_labels": {
            **{name: str(label) for name, label in FIELD_LABELS.items()},
            "model": gettext("Models"),
        },
        "count_held": {
            number: ngettext("Send {count} file", "Send {count} files", number)
            for number in EXAMPLE_NUMBERS
        },
        "count_refused": {
            number: ngettext("{count} refused", "{count} refused", number)
            for number in EXAMPLE_NUMBERS
        },
        "count_not_sent": {
            number: ngettext("{count} not sent", "{count} not sent", number)
            for number in EXAMPLE_NUMBERS
        },
    }
