"""Mail: a tenant's role, domains, signing keys and mailboxes in Stalwart 0.16, over its JMAP management API."""
