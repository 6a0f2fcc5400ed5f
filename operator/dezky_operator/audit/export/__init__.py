"""Events in the forms that other programs read: CSV, JSON lines, OCSF, CloudEvents. Views in, text out."""
