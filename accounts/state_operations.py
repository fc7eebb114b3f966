"""Operations of migrations that change the state only."""

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


class DiscardRenderedModels(Operation):
    """Discard the rendered models of a migration's state.

    Each changed field renders all related models anew, but only where they are already
    rendered. After this operation, hundreds of changed fields render them once.
    """

    reversible = True

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Discard the models; the next operation that needs them renders them."""
        state.__dict__.pop("apps", None)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Leave the database as it is."""

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Leave the database as it is."""
