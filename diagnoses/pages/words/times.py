"""How times, waiting and ages are written: for a tired reader, in TIME_ZONE."""

from datetime import UTC, date, datetime, time, timedelta, timezone

from django.utils import timezone as site_time

from patients.models import Study

_MONTHS_A_YEAR = 12
_AGE_IN_MONTHS_BELOW_YEARS = 2
_HOURS_WITH_MINUTES = 3
_DAYS_IN_HOURS = 2


def day_words(day: date, *, today: date) -> str:
    """Write a day: `today`, `yesterday`, `3 Oct 2026`."""
    if day == today:
        return "today"
    if day == today - timedelta(days=1):
        return "yesterday"
    return f"{day.day} {day:%b %Y}"


def study_moment(study: Study, *, today: date) -> str:
    """Write when a study was made: as sent, or in TIME_ZONE where its offset is known.

    The offset is Timezone Offset From UTC (0008,0201).
    """
    if study.study_date is None:
        return "no date"
    if study.study_time is None:
        return day_words(study.study_date, today=today)
    moment = datetime.combine(study.study_date, study.study_time)
    offset = _offset(study.timezone_offset)
    if offset is not None:
        moment = moment.replace(tzinfo=offset).astimezone(
            site_time.get_current_timezone()
        )
    return f"{day_words(moment.date(), today=today)} {moment:%H:%M}"


def _offset(written: str) -> timezone | None:
    """Read `&HHMM` (PS3.3 C.12.1.1.8); None where it is not that."""
    sign, digits = written[:1], written[1:]
    if sign not in "+-" or len(digits) != len("HHMM") or not digits.isdigit():
        return None
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if ahead >= timedelta(days=1):
        return None
    return timezone(ahead if sign == "+" else -ahead)


def waiting_words(since: datetime, *, now: datetime) -> str:
    """Write how long something has waited: `6 min`, `1 h 17 min`, `11 h`, `3 days`."""
    minutes = max(0, int((now - since).total_seconds() // 60))
    hours, days = minutes // 60, minutes // (24 * 60)
    if minutes < 1:
        return "under 1 min"
    if hours < 1:
        return f"{minutes} min"
    if hours < _HOURS_WITH_MINUTES:
        return f"{hours} h {minutes % 60:02d} min"
    if days < _DAYS_IN_HOURS:
        return f"{hours} h"
    return f"{days} days"


def moment_words(moment: datetime) -> str:
    """Write a moment in TIME_ZONE: `3 Oct 2026, 09:42`."""
    local = site_time.localtime(moment)
    return f"{local.day} {local:%b %Y, %H:%M}"


def age_words(birth_date: date, *, on: date) -> str:
    """Write an age: `67` years, below two `8 months`."""
    passed = on.year * _MONTHS_A_YEAR + on.month
    months = passed - birth_date.year * _MONTHS_A_YEAR - birth_date.month
    months -= on.day < birth_date.day
    if months < 0:
        return ""
    if months < _AGE_IN_MONTHS_BELOW_YEARS * _MONTHS_A_YEAR:
        return "1 month" if months == 1 else f"{months} months"
    return str(months // _MONTHS_A_YEAR)


def start_of_today() -> datetime:
    """Return midnight of the present day in TIME_ZONE."""
    midnight = datetime.combine(site_time.localdate(), time())
    return site_time.make_aware(midnight).astimezone(UTC)
