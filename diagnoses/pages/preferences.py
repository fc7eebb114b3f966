"""What a user has chosen to see, remembered from page to page."""

from django.http import HttpResponse
from django.views.decorators.http import require_POST

from accounts.access import Action, require
from diagnoses.pages.request import PageRequest


@require_POST
def heat_map(request: PageRequest) -> HttpResponse:
    """Remember whether heat maps are shown, and whether in flat cells.

    No audit event: it is about the user's own pages and shows nothing.
    """
    require(request, Action.READ_IMAGES)
    user = request.user
    user.heat_map_shown = request.POST.get("shown") == "1"
    user.heat_map_cells = request.POST.get("cells") == "1"
    user.save(update_fields=("heat_map_shown", "heat_map_cells"))
    return HttpResponse(status=204)
