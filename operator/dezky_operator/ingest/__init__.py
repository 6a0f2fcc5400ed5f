"""Sources of the audit log: what each system tells, read, made into events and handed on."""
