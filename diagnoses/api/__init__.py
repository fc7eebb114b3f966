"""REST: uploads, predictions, models."""

routes: list[tuple[str, type, str]] = []
