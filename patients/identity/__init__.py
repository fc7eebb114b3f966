"""Whose image it is: submitted identity, names of persons, assignment to a patient."""
