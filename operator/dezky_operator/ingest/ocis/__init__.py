"""OCIS as a source of the audit log: its audit file, tailed (facts/ocis.md 4, facts/audit-log.md 2.7)."""
