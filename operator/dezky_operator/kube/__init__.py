"""The Kubernetes side: the event source, the queue, the Lease, and every write to the API server."""
