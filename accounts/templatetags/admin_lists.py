"""`{{ row|with_column_names:headers }}`: the cells of a row of an admin list."""

from collections.abc import Iterable, Mapping

from django import template
from django.utils.html import format_html, strip_tags
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

register = template.Library()


@register.filter
def with_column_names(
    cells: Iterable[SafeString], headers: Iterable[Mapping[str, object]]
) -> list[SafeString]:
    """Return each cell, `<td…` or `<th…`, with the name of its column."""
    return [
        _named(cell, capfirst(strip_tags(str(header["text"]))))
        for cell, header in zip(cells, headers, strict=False)
    ]


def _named(cell: SafeString, name: str) -> SafeString:
    """Put the name into the tag that Django wrote."""
    tag, rest = cell[: len("<td")], cell[len("<td") :]
    written = mark_safe(tag) + format_html(' data-column="{}"', name)  # noqa: S308
    return written + mark_safe(rest)  # noqa: S308
