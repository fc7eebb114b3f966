"""Texts that several pages share: signs, times, identity, findings, certainty."""
