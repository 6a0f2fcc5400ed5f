"""The canary: an account of the tenant that tries every door before a lock and after it."""
