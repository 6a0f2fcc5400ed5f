"""Files: a tenant's group and spaces in ownCloud Infinite Scale."""
