"""Dates, times and ages as text, in the reader's language and in TIME_ZONE."""

from datetime import date, datetime, time, timedelta, timezone

from django.contrib.humanize.templatetags.humanize import naturalday
from django.utils import timezone as site_time
from django.utils.formats import date_format, time_format
from django.utils.translation import gettext, ngettext

from patients.models import Study

_MONTHS_A_YEAR = 12
_AGE_IN_MONTHS_BELOW_YEARS = 2


def study_moment(study: Study) -> str:
    """Return when a study was made: in TIME_ZONE if its offset is known, else as sent.

    The offset is Timezone Offset From UTC (0008,0201).
    """
    if study.study_date is None:
        return gettext("no date")
    here = site_time.get_current_timezone()
    if study.study_time is None:
        return str(naturalday(datetime.combine(study.study_date, time(), here)))
    moment = _instant(study.study_date, study.study_time, study).astimezone(here)
    return f"{naturalday(moment)} {time_format(moment.time())}"


def study_order(study: Study) -> tuple[datetime, datetime]:
    """Return the key that sorts studies by when they were made, then by arrival.

    A study without a date counts as made when it arrived; one without a time too, if it
    arrived on its day, else at the beginning of its day.
    """
    arrived = study.received_at
    if study.study_date is None:
        return arrived, arrived
    if study.study_time is not None:
        return _instant(study.study_date, study.study_time, study), arrived
    if study.study_date == site_time.localdate(arrived):
        return arrived, arrived
    return _instant(study.study_date, time(), study), arrived


def _instant(day: date, moment: time, study: Study) -> datetime:
    """Return a day and time of a study with its offset, else that of TIME_ZONE."""
    here = site_time.get_current_timezone()
    offset = _offset(study.timezone_offset) or here
    return datetime.combine(day, moment, tzinfo=offset)


def _offset(text: str) -> timezone | None:
    """Read `&HHMM` (PS3.3 C.12.1.1.8); None if it is not that."""
    sign, digits = text[:1], text[1:]
    if sign not in "+-" or len(digits) != len("HHMM") or not digits.isdigit():
        return None
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if ahead >= timedelta(days=1):
        return None
    return timezone(ahead if sign == "+" else -ahead)


def moment_words(moment: datetime) -> str:
    """Return a moment as text: `3 Oct 2026, 09:42`."""
    return date_format(site_time.localtime(moment), "DATETIME_FORMAT")


def age_in_months(birth_date: date, *, on: date) -> int | None:
    """Return the completed months of a life on a day; None before the birth."""
    months = (on.year - birth_date.year) * _MONTHS_A_YEAR + on.month - birth_date.month
    months -= on.day < birth_date.day
    return months if months >= 0 else None


def short_age(birth_date: date, *, on: date) -> str:
    """Return an age for a row: `67`, for small children `8 months`."""
    months = age_in_months(birth_date, on=on)
    if months is None:
        return ""
    if months < _AGE_IN_MONTHS_BELOW_YEARS * _MONTHS_A_YEAR:
        return _months_text(months)
    return str(months // _MONTHS_A_YEAR)


def long_age(birth_date: date, *, on: date) -> str:
    """Return an age for the head of a page: `67 years`, `8 months`."""
    months = age_in_months(birth_date, on=on)
    if months is None:
        return ""
    if months < _AGE_IN_MONTHS_BELOW_YEARS * _MONTHS_A_YEAR:
        return _months_text(months)
    years = months // _MONTHS_A_YEAR
    return ngettext("%(count)d year", "%(count)d years", years) % {"count": years}


def _months_text(months: int) -> str:
    return ngettext("%(count)d month", "%(count)d months", months) % {"count": months}
