"""DNS: what has to be published for a tenant, and whether it is."""
