"""Indexes for each order and each filter of the lists."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0010_lists_by_index"),
        ("patients", "0011_search_text"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="study",
            name="study_accession_prefix",
        ),
        migrations.AlterField(
            model_name="series",
            name="study",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="series",
                to="patients.study",
                verbose_name="study",
            ),
        ),
        migrations.AlterField(
            model_name="study",
            name="department",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="studies",
                to="accounts.department",
                verbose_name="department",
            ),
        ),
        migrations.AlterField(
            model_name="study",
            name="patient",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="studies",
                to="patients.patient",
                verbose_name="patient",
            ),
        ),
        migrations.AddIndex(
            model_name="instance",
            index=models.Index(fields=["-received_at", "-id"], name="instance_newest"),
        ),
        migrations.AddIndex(
            model_name="instance",
            index=models.Index(
                fields=["instance_number", "id"], name="instance_by_number"
            ),
        ),
        migrations.AddIndex(
            model_name="instance",
            index=models.Index(
                fields=["sop_class_uid", "-received_at", "-id"],
                name="instance_of_sop_class",
            ),
        ),
        migrations.AddIndex(
            model_name="instance",
            index=models.Index(
                fields=["origin", "-received_at", "-id"], name="instance_of_origin"
            ),
        ),
        migrations.AddIndex(
            model_name="instance",
            index=models.Index(
                fields=["synthetic", "-received_at", "-id"],
                name="instance_of_synthetic",
            ),
        ),
        migrations.AddIndex(
            model_name="instance",
            index=models.Index(
                fields=["picture", "-received_at", "-id"], name="instance_of_picture"
            ),
        ),
        migrations.AddIndex(
            model_name="instance",
            index=models.Index(
                fields=["lossy", "-received_at", "-id"], name="instance_of_lossy"
            ),
        ),
        migrations.AddIndex(
            model_name="patient",
            index=models.Index(
                fields=["patient_id", "id"], name="patient_by_identifier"
            ),
        ),
        migrations.AddIndex(
            model_name="patient",
            index=models.Index(
                fields=["birth_date", "id"], name="patient_by_birth_date"
            ),
        ),
        migrations.AddIndex(
            model_name="patient",
            index=models.Index(fields=["created_at", "id"], name="patient_by_creation"),
        ),
        migrations.AddIndex(
            model_name="patient",
            index=models.Index(
                fields=["issuer", "name_folded", "id"], name="patient_of_issuer"
            ),
        ),
        migrations.AddIndex(
            model_name="patient",
            index=models.Index(
                fields=["sex", "name_folded", "id"], name="patient_of_sex"
            ),
        ),
        migrations.AddIndex(
            model_name="patient",
            index=models.Index(
                condition=models.Q(("patient_id__isnull", True)),
                fields=["name_folded", "id"],
                name="patient_unidentified",
            ),
        ),
        migrations.AddIndex(
            model_name="series",
            index=models.Index(fields=["study", "modality"], name="series_of_study"),
        ),
        migrations.AddIndex(
            model_name="series",
            index=models.Index(
                fields=["modality", "study"], name="series_study_of_modality"
            ),
        ),
        migrations.AddIndex(
            model_name="series",
            index=models.Index(fields=["modality", "id"], name="series_by_modality"),
        ),
        migrations.AddIndex(
            model_name="series",
            index=models.Index(
                fields=["modality", "series_instance_uid"], name="series_of_modality"
            ),
        ),
        migrations.AddIndex(
            model_name="series",
            index=models.Index(
                fields=["body_part_examined", "series_instance_uid"],
                name="series_of_body_part",
            ),
        ),
        migrations.AddIndex(
            model_name="series",
            index=models.Index(fields=["series_number", "id"], name="series_by_number"),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(fields=["department", "id"], name="study_in_department"),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                fields=["accession_number", "id"], name="study_by_accession"
            ),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(fields=["study_date", "id"], name="study_by_date"),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                condition=models.Q(("flags__contains", ["demographics_mismatch"])),
                fields=["-received_at", "-id"],
                name="flag_demographics_mismatch",
            ),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                condition=models.Q(("flags__contains", ["accession_shared"])),
                fields=["-received_at", "-id"],
                name="flag_accession_shared",
            ),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                condition=models.Q(("flags__contains", ["character_set_uncertain"])),
                fields=["-received_at", "-id"],
                name="flag_character_set_uncertain",
            ),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                condition=models.Q(("flags__contains", ["identity_to_confirm"])),
                fields=["-received_at", "-id"],
                name="flag_identity_to_confirm",
            ),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                condition=models.Q(("flags__contains", ["same_pixels_other_patient"])),
                fields=["-received_at", "-id"],
                name="flag_same_pixels_other_patient",
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                fields=["outcome", "-created_at", "-id"], name="upload_of_outcome"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                fields=["source", "-created_at", "-id"], name="upload_of_source"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                fields=["reason_code", "-created_at", "-id"], name="upload_of_reason"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                fields=["user", "-created_at", "-id"], name="upload_of_user"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                fields=["department", "-created_at", "-id"], name="upload_of_department"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(fields=["outcome", "id"], name="upload_by_outcome"),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(fields=["original_name", "id"], name="upload_by_name"),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(fields=["size_bytes", "id"], name="upload_by_size"),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                fields=["original_name"],
                name="upload_name_prefix",
                opclasses=("text_pattern_ops",),
            ),
        ),
        migrations.AddIndex(
            model_name="identitydiscrepancy",
            index=models.Index(
                fields=["-created_at", "-id"], name="discrepancy_newest"
            ),
        ),
        migrations.AddIndex(
            model_name="identitydiscrepancy",
            index=models.Index(
                fields=["attribute", "-created_at", "-id"],
                name="discrepancy_of_attribute",
            ),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                fields=["patient", "department"], name="study_of_patient_in"
            ),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                fields=["study_date", "-received_at", "-id"], name="study_of_date"
            ),
        ),
    ]
