"""Patient identity: submitted values, person names, assignment to a patient."""
