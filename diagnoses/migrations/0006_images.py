"""Columns that count images say so; the values stay."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Rename the columns, and what names them."""

    dependencies = (("diagnoses", "0005_decisions_stay"),)

    operations = (
        migrations.RemoveIndex("worklistentry", "worklist_waiting"),
        migrations.RenameField("worklistentry", "films", "images"),
        migrations.RenameField("worklistentry", "films_waiting", "images_waiting"),
        migrations.RenameField("worklistentry", "films_unread", "images_unread"),
        migrations.AddIndex(
            "worklistentry",
            models.Index(
                fields=["-received_at", "-study"],
                name="worklist_waiting",
                condition=models.Q(images_waiting__gt=0),
            ),
        ),
        migrations.RemoveConstraint("siteacceptance", "acceptance_of_films"),
        migrations.RenameField("siteacceptance", "films", "images"),
        migrations.AddConstraint(
            "siteacceptance",
            models.CheckConstraint(
                condition=models.Q(images__gt=0, patients__gt=0),
                name="acceptance_of_images",
            ),
        ),
    )
