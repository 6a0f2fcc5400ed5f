"""The record of what the operator did. Until the log itself exists, a seam with a recorder that keeps nothing."""
