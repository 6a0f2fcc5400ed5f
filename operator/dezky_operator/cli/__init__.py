"""What people run beside kubectl."""
