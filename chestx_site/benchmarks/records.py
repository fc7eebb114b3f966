"""A made-up record of any size, without files: one INSERT … SELECT for each table.

The number of a row decides its key and its values, so every table is filled without
looking at the others, and a second call goes on where the first one stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext

from accounts.models import Department, User
from chestx_site.database.owner import as_owner
from diagnoses.models import ModelVersion
from diagnoses.worklist import models_in_use
from patients.dicom.header import PersonName
from patients.identity import names
from patients.models import Instance, Study

STUDIES_A_PATIENT = 4
_WORDS = 100
# Of patient IDs, accession numbers and the names of files.
ISSUER = "MADE-UP"
_THRESHOLD = 0.5

# A share of the studies in thousandths for each.
DEPARTMENTS = (
    ("Radiology", 600),
    ("Emergency", 200),
    ("Intensive care", 100),
    ("Outpatients", 60),
    ("Paediatrics", 30),
    ("Occupational health", 10),
)
_FAMILIES = """
Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch
Bauer Richter Klein Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Lange
Krause Lehmann Köhler Weiß Vogel Möller Jäger Groß Böhm Nguyen Tran Kim Lee Park Chen
Wang Li Zhang Singh Kaur Patel Khan Ali Hussain Smith Jones Williams Brown Taylor Davies
Evans Thomas O'Neill Murphy Kelly García Fernández López Martínez Sánchez Rossi Russo
Ferrari Esposito Silva Santos Oliveira Kowalski Nowak Wiśniewski Novák Horváth Nagy
Jensen Sørensen Hansen Åkerlund Lindström Virtanen Okafor Adeyemi Mwangi Abdullah Yılmaz
Öztürk Demir Ivanova Petrov Popescu Papadopoulos Dubois Lefèvre Moreau Van-der-Berg
""".split()  # noqa: SIM905 - as a text
_GIVEN = """
Johanna Maria Anna Lena Emma Mia Sophie Laura Julia Katharina Ingrid Ursula Renate
Helga Fatima Aisha Zeynep Priya Mei Yuki Olga Elena Chiara Lucía Carmen Camille Astrid
Agnieszka
Peter Michael Thomas Andreas Stefan Jürgen Jörg Günther Lukas Paul Felix Noah Karl Heinz
Mohammed Ahmed Mehmet Raj Wei Hiroshi Ivan Dmitri Marco José Luis Pierre Lars Søren
Piotr
""".split()  # noqa: SIM905 - as a text

# Every value of a study that more than one table needs; `number` counts from 0.
_STUDIES = """
CREATE TEMPORARY TABLE made_up ON COMMIT DROP AS
SELECT number, number / %(studies_a_patient)s AS person,
    md5('patient' || number / %(studies_a_patient)s)::uuid AS patient,
    md5('study' || number)::uuid AS study,
    md5('series' || number)::uuid AS series,
    md5('instance' || number)::uuid AS instance,
    md5('prediction' || number)::uuid AS prediction,
    md5('finding' || number)::uuid AS finding,
    encode(sha256(('object' || number)::bytea), 'hex') AS digest,
    now() - (%(total)s - number) * interval '2 minutes' AS at,
    CASE WHEN lot < 0.02 THEN 2 WHEN lot < 0.12 THEN 1 ELSE 0 END AS priority,
    CASE WHEN number >= %(total)s - 200 AND other_lot < 0.6 THEN 'queued'
        WHEN other_lot < 0.01 THEN 'failed'
        WHEN other_lot < 0.04 THEN 'rejected' ELSE 'succeeded' END AS status,
    (SELECT key FROM unnest(%(departments)s::uuid[], %(shares)s::int[]) AS d(key, upto)
        WHERE third_lot * 1000 < upto ORDER BY upto LIMIT 1) AS department,
    floor(fourth_lot * array_length(%(labels)s::text[], 1))::int AS strongest,
    0.3 + 0.7 * fifth_lot AS probability,
    CASE WHEN sixth_lot < 0.02 THEN (ARRAY['demographics_mismatch', 'accession_shared',
            'character_set_uncertain', 'identity_to_confirm',
            'same_pixels_other_patient'])[1 + floor(sixth_lot * 250)::int]
        END AS flag,
    CASE WHEN lot < 0.7 THEN 'DX' WHEN lot < 0.98 THEN 'CR' ELSE 'MR' END AS modality
FROM (SELECT number, random() AS lot, random() AS other_lot, random() AS third_lot,
        random() AS fourth_lot, random() AS fifth_lot, random() AS sixth_lot
    FROM generate_series(%(first)s::bigint, %(total)s::bigint - 1) AS number) AS lots
"""
# Half of the persons have a name of the list, the common ones more often; the others
# have one of syllables, as most names are rare.
_PATIENTS = """
INSERT INTO patients_patient (id, patient_id, issuer, family_name, given_name,
    middle_name, name_prefix, name_suffix, ideographic_name, phonetic_name, name_folded,
    birth_date, sex)
SELECT patient, 'MRN-' || lpad(person::text, 8, '0'), %(issuer)s,
    coalesce(rare, common.family), common.given, '', '', '', '', '',
    CASE WHEN rare IS NULL THEN common.folded
        ELSE lower(rare) || ' ' || common.folded_given END,
    date '1930-01-01' + floor(random() * 32000)::int,
    (ARRAY['M', 'F'])[1 + floor(random() * 2)::int]
FROM (
    SELECT *, CASE WHEN random() < 0.5 THEN (
        SELECT initcap(string_agg(
            (ARRAY['ba','re','li','mo','tu','ka','ze','vi','no','su','da','ge','pi','fo',
                'ru','sha','the','ri','ko','ul'])[1 + floor(random() * 20)::int]
            || CASE WHEN syllable = 3
                THEN (ARRAY['n','r','s','','k'])[1 + floor(random() * 5)::int]
                ELSE '' END, ''))
        FROM generate_series(1, 3) AS syllable WHERE person IS NOT NULL
    ) END AS rare, 1 + floor(power(random(), 2) * %(names)s)::int AS name
    FROM (SELECT DISTINCT person, patient FROM made_up) AS persons
) AS persons
JOIN unnest(%(families)s::text[], %(given)s::text[], %(folded)s::text[],
        %(folded_given)s::text[])
    WITH ORDINALITY AS common(family, given, folded, folded_given, number)
    ON common.number = persons.name
ON CONFLICT DO NOTHING
"""
# In this order: a finding may be refused once its run has ended, so it comes first.
# References are checked at the end.
_TABLES = (
    """
INSERT INTO patients_study (id, patient_id, study_instance_uid, received_patient_id,
    received_issuer, received_name, received_sex, accession_number, accession_issuer,
    study_date, timezone_offset, description, referring_physician, priority,
    department_id, flags, received_at)
SELECT study, patient, '2.25.' || (%(uid)s + number),
    'MRN-' || lpad(person::text, 8, '0'), %(issuer)s, '', '',
    'ACC' || lpad((number * 7919 %% 100000000)::text, 8, '0'), %(issuer)s, at::date, '',
    CASE WHEN modality = 'MR' THEN 'MR brain' ELSE 'Chest PA' END, '', priority,
    department, CASE WHEN flag IS NULL THEN '{}' ELSE ARRAY[flag] END, at
FROM made_up
""",
    """
INSERT INTO patients_series (id, study_id, series_instance_uid, modality,
    body_part_examined, view_position, laterality, description, series_number)
SELECT series, study, '2.25.' || (2 * %(uid)s + number), modality,
    CASE WHEN modality = 'MR' THEN 'BRAIN' ELSE 'CHEST' END, 'PA', '', '', 1
FROM made_up
""",
    """
INSERT INTO patients_instance (id, series_id, sop_instance_uid, sop_class_uid,
    transfer_syntax_uid, instance_number, view_position, rows, columns, frames,
    photometric_interpretation, pixel_spacing_kind, origin, synthetic, picture, lossy,
    size_bytes, original_sha256, object_sha256, dataset_sha256, header_sha256,
    pixel_sha256, hash_rule, header, received_at)
SELECT instance, series, '2.25.' || (3 * %(uid)s + number),
    '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 1, 'PA', 2000, 2000, 1,
    'MONOCHROME2', '', 'received', true, number %% 50 = 0, number %% 20 = 0, 8000000,
    '', digest, digest, digest, digest, 1, '{}', at
FROM made_up
""",
    """
INSERT INTO patients_upload (id, user_id, source, original_name, sha256, size_bytes,
    outcome, reason_code, reason_message, reason_params, reason, instance_id,
    department_id, conflicts_with_id, submitted_identity, resolution, created_at)
SELECT gen_random_uuid(), %(user)s,
    CASE WHEN number %% 3 = 0 THEN 'web' ELSE 'rest' END,
    'image-' || number || '.dcm', digest, 8000000, outcome, reason, reason, '{}', '',
    CASE WHEN outcome IN ('stored', 'duplicate') THEN instance END, department,
    CASE WHEN outcome = 'conflict' THEN instance END, '{}', '', at
FROM made_up CROSS JOIN LATERAL (
    SELECT 'stored' AS outcome, '' AS reason
    UNION ALL SELECT 'duplicate', '' WHERE number %% 100 = 1
    UNION ALL SELECT 'refused', 'not_an_image' WHERE number %% 50 = 2
    UNION ALL SELECT 'conflict', 'conflict_header' WHERE number %% 1000 = 3
) AS outcomes
""",
    """
INSERT INTO patients_identitydiscrepancy (id, study_id, attribute, received, recorded)
SELECT gen_random_uuid(), study, 'sex', 'F', 'M'
FROM made_up WHERE flag = 'demographics_mismatch'
""",
    """
INSERT INTO diagnoses_finding (id, prediction_id, position, label, probability,
    calibrated, threshold, threshold_source, positive)
SELECT CASE WHEN label.number = strongest + 1 THEN finding ELSE gen_random_uuid() END,
    prediction, label.number - 1, label.name, score, false, %(threshold)s, 'card',
    score >= %(threshold)s
FROM made_up
    CROSS JOIN unnest(%(labels)s::text[]) WITH ORDINALITY AS label(name, number)
    CROSS JOIN LATERAL (
        SELECT CASE WHEN label.number = strongest + 1 THEN probability
            ELSE 0.01 END AS score
    ) AS scores
WHERE status = 'succeeded'
""",
    """
INSERT INTO diagnoses_heatmap (finding_id, rows, columns, scale, values)
SELECT finding, 5, 5, 1, decode(repeat('00', 50), 'hex')
FROM made_up WHERE status = 'succeeded' AND number %% 5 = 0
""",
    # A queued run waits for years: there is no file that a worker could read.
    """
INSERT INTO diagnoses_prediction (id, instance_id, frame, model_version_id, run, shadow,
    status, reason_code, reason_message, reason_params, reason, priority, attempt,
    lost_workers, worker, queued_at, not_before, started_at, finished_at, milliseconds,
    pixel_sha256, input_sha256, provenance)
SELECT prediction, instance, 0, %(model)s, 1, false, status,
    CASE status WHEN 'failed' THEN 'worker_lost' WHEN 'rejected' THEN 'not_a_chest'
        ELSE '' END,
    '', '{}', '', priority, 1, 0, 'made up', at, at + interval '100 years', at,
    CASE WHEN status <> 'queued' THEN at END, 20, digest, digest, '{}'
FROM made_up
""",
    """
INSERT INTO diagnoses_worklistentry (study_id, department_id, priority, received_at,
    status, images, images_waiting, images_unread, prediction_id, finding_id, flagged,
    label, models_flagging, models_reading, highest, image_number, models_in_use)
SELECT study, department, priority, at, status, 1, (status = 'queued')::int,
    (status IN ('failed', 'rejected'))::int,
    CASE WHEN is_read THEN prediction END, CASE WHEN is_read THEN finding END,
    is_flagged, CASE WHEN is_read THEN (%(labels)s::text[])[strongest + 1] ELSE '' END,
    is_flagged::int, is_read::int, CASE WHEN is_read THEN probability END, 1,
    %(models_in_use)s
FROM made_up CROSS JOIN LATERAL (
    SELECT status = 'succeeded' AS is_read,
        status = 'succeeded' AND probability >= %(threshold)s AND strongest > 0
            AS is_flagged
) AS results
""",
    """
INSERT INTO accounts_auditevent (actor_uuid, actor_name, action, object_kind,
    object_uuid, source, outcome, detail)
SELECT %(user)s, %(user_name)s, action, 'study', study, 'web',
    'success', '{"made_up": true}'
FROM made_up CROSS JOIN unnest(ARRAY['upload', 'view']) AS action
""",
    """
INSERT INTO accounts_auditsubject (event_id, patient_uuid)
SELECT event.id, patient
FROM made_up JOIN accounts_auditevent AS event ON event.object_uuid = study
""",
)
# Indexes that are no constraints are built anew at the end, and references are checked
# then: faster than row by row.
_FILLED = [
    "patients_searchtext",
    *(statement.split()[2] for statement in (_PATIENTS, *_TABLES)),
]
_PLAIN_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE NOT indisunique AND indrelid = ANY(%s::regclass[]) ORDER BY 1
"""
_FOREIGN_KEYS = """
SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid)
FROM pg_constraint
WHERE contype = 'f' AND conrelid = ANY(%s::regclass[]) ORDER BY 1, 2
"""
# UIDs are numbers: one range for each kind.
_UID = 10**30


class NotMadeUpError(Exception):
    """The record has images of patients, or is in production."""


def fill(total: int, say: Callable[[str], None]) -> int:
    """Fill the record until it has `total` made-up studies.

    Args:
        total: The number of made-up studies, those of earlier calls among them.
        say: Prints a sentence.

    Returns:
        How many were added.

    Raises:
        NotMadeUpError: In production, or where an image is not synthetic.
    """
    if settings.PRODUCTION or Instance.objects.filter(synthetic=False).exists():
        raise NotMadeUpError(
            gettext(
                "Only a record for development with made-up images can be filled: this "
                "one is in production or has images of patients."
            )
        )
    first = Study.objects.filter(accession_issuer=ISSUER).count()
    if first >= total:
        return 0
    values = _values(first, total)
    with as_owner():
        _insert(values, say)
    return total - first


def _insert(values: dict[str, Any], say: Callable[[str], None]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '256MB'")
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute("SELECT setseed(0.5)")
        cursor.execute(_STUDIES, values)
        cursor.execute(_FOREIGN_KEYS, [_FILLED])
        references = cursor.fetchall()
        for table, name, _definition in references:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        cursor.execute(_PLAIN_INDEXES, [_FILLED])
        indexes = cursor.fetchall()
        for name, _definition in indexes:
            cursor.execute(f"DROP INDEX {name}")
        for statement in (_PATIENTS, *_TABLES):
            table = statement.split()[2]
            cursor.execute(statement, values)
            say(
                gettext("%(table)s: %(rows)d rows")
                % {"table": table, "rows": cursor.rowcount}
            )
        for _name, definition in indexes:
            cursor.execute(definition)
        for table, name, definition in references:
            cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def some_words() -> dict[str, list[str]]:
    """Return names, numbers and keys of a hundred studies, to search for."""
    total = Study.objects.filter(accession_issuer=ISSUER).count()
    step = max(1, total // STUDIES_A_PATIENT // _WORDS)
    identifiers = [f"MRN-{step * number:08d}" for number in range(_WORDS)]
    # Of the department that every user of the demo sees.
    of_persons = Study.objects.filter(
        patient__patient_id__in=identifiers,
        accession_issuer=ISSUER,
        department__code=settings.DEFAULT_DEPARTMENT,
    )
    studies = list(
        of_persons.select_related("patient")
        .order_by("patient_id", "pk")
        .distinct("patient_id")
    )
    persons = [study.patient for study in studies]
    return {
        "names": [f"{p.given_name} {p.family_name}" for p in persons],
        "identifiers": [str(p.patient_id) for p in persons],
        "birth_dates": [str(p.birth_date) for p in persons],
        "patients": [str(p.pk) for p in persons],
        "accession_numbers": [study.accession_number for study in studies],
        "studies": [str(study.pk) for study in studies],
    }


def _values(first: int, total: int) -> dict[str, Any]:
    """Return the values of the statements."""
    model = ModelVersion.objects.get(
        name=settings.DEFAULT_MODEL, state=ModelVersion.State.ACTIVE
    )
    user = User.objects.order_by("pk").first()
    combinations = list(product(_GIVEN, _FAMILIES))
    shares, departments = 0, []
    for name, share in DEPARTMENTS:
        department, _ = Department.objects.get_or_create(
            code=name.lower().replace(" ", "-"), defaults={"name": name}
        )
        shares += share
        departments.append((department.pk, shares))
    return {
        "first": first,
        "total": total,
        "studies_a_patient": STUDIES_A_PATIENT,
        "issuer": ISSUER,
        "uid": _UID,
        "threshold": _THRESHOLD,
        "departments": [key for key, _ in departments],
        "shares": [upto for _, upto in departments],
        "labels": [label["name"] for label in model.card["labels"]],
        "model": model.pk,
        "models_in_use": models_in_use().key,
        "user": user.pk if user else None,
        "user_name": user.username if user else "",
        "names": len(combinations),
        "families": [family for _, family in combinations],
        "given": [given for given, _ in combinations],
        "folded": [
            names.folded(PersonName(family=family, given=given))
            for given, family in combinations
        ],
        "folded_given": [
            names.folded(PersonName(given=given)) for given, _ in combinations
        ],
    }
