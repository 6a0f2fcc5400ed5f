"""OCIS as a source: the JSON lines of its audit service, tailed."""
