"""Every metric of the operator, on a registry of its own so that two operators in one process stay apart."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter was made is nobody's question, and doubles the page

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets in seconds; 50 ms is what a call to a system on the same host takes, 30 s the longest timeout."""


class Metrics:
    """The metrics, by their names on ``/metrics`` without the prefix ``dezky_``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "dezky_reconcile", "Reconciles by outcome.", ["kind", "outcome"], registry=self.registry
        )
        self.reconcile_seconds = Histogram(
            "dezky_reconcile_seconds", "How long one reconcile took.", ["kind"], buckets=LATENCY, registry=self.registry
        )
        self.steps = Counter(
            "dezky_steps", "Applied steps by outcome.", ["system", "kind", "verb", "outcome"], registry=self.registry
        )
        self.drift = Counter(
            "dezky_drift_detected",
            "Fields that another hand changed, when they were put back or first reported.",
            ["system", "field"],
            registry=self.registry,
        )
        self.requests = Counter(
            "dezky_external_requests", "Requests to external systems.", ["system", "op", "code"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "dezky_external_request_seconds",
            "Duration of requests to external systems, waiting for a free slot included.",
            ["system", "op"],
            buckets=LATENCY,
            registry=self.registry,
        )
        self.kube_writes = Counter("dezky_kube_writes", "Writes to the API server.", ["what"], registry=self.registry)
        self.time_to_ready = Histogram(
            "dezky_time_to_ready_seconds",
            "From the creation of a tenant to its first Ready.",
            buckets=(*LATENCY, 60, 300, 3600),
            registry=self.registry,
        )
        self.time_to_lockout = Histogram(
            "dezky_time_to_lockout_seconds",
            "From the first sight of a suspension to all three systems seen locked.",
            buckets=(*LATENCY, 60, 120, 300, 3600),
            registry=self.registry,
        )
        self.condition = Gauge(
            "dezky_condition",
            "1 for the status a condition has.",
            ["kind", "name", "type", "status"],
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "dezky_queue_depth", "Keys waiting or delayed in the work queue.", registry=self.registry
        )
        self.leader = Gauge("dezky_leader", "1 while this process holds the Lease.", registry=self.registry)
        self.watch_last_event = Gauge(
            "dezky_watch_last_event_timestamp_seconds",
            "When the watch last delivered an event.",
            registry=self.registry,
        )
        self.last_sync = Gauge(
            "dezky_tenant_last_sync_timestamp_seconds",
            "When a tenant was last found in sync.",
            ["name"],
            registry=self.registry,
        )
        self.sweeps = Counter("dezky_sweeps", "Sweeps over the whole fleet.", registry=self.registry)
        self.sweep_seconds = Gauge(
            "dezky_sweep_seconds", "How long the last sweep over the whole fleet took.", registry=self.registry
        )
        self.circuit_open = Gauge(
            "dezky_circuit_open",
            "1 while a system that failed again and again is left alone.",
            ["system"],
            registry=self.registry,
        )
        self.credential_refused = Gauge(
            "dezky_credential_refused",
            "1 while a system refuses the operator's credential.",
            ["system"],
            registry=self.registry,
        )
        self.audit_events = Counter(
            "dezky_audit_events",
            "Events offered to the audit log, by what became of them.",
            ["source", "fate"],
            registry=self.registry,
        )
        self.audit_unattributed = Counter(
            "dezky_audit_unattributed_events",
            "Events of a source that belong to no tenant; they are in the global timeline.",
            ["source"],
            registry=self.registry,
        )
        self.audit_waiting = Gauge(
            "dezky_audit_waiting",
            "Events of the operator that the audit log has not taken yet. Those in memory are lost if it ends now.",
            ["where"],
            registry=self.registry,
        )
        self.audit_source_up = Gauge(
            "dezky_audit_source_up", "1 while an AuditSource is read.", ["source"], registry=self.registry
        )
        self.audit_source_last_event = Gauge(
            "dezky_audit_source_last_event_timestamp_seconds",
            "When the newest event of an AuditSource happened.",
            ["source"],
            registry=self.registry,
        )
        self.ingest_lag = Gauge(
            "dezky_ingest_lag_seconds",
            "From the newest event of an AuditSource to its line in the log.",
            ["source"],
            registry=self.registry,
        )
        self.audit_unanchored = Gauge(
            "dezky_audit_unanchored_events", "Events under no checkpoint yet.", registry=self.registry
        )
        self.audit_anchor_lag = Gauge(
            "dezky_audit_anchor_lag_seconds",
            "How long the oldest event that is under no checkpoint has waited for one.",
            registry=self.registry,
        )
        self.audit_anchored = Gauge(
            "dezky_audit_anchored", "1 while every anchor has the newest checkpoint.", registry=self.registry
        )
        self.audit_verified = Gauge(
            "dezky_audit_verify_last_success_timestamp_seconds",
            "When everything in the audit log's store was last found as it was signed.",
            registry=self.registry,
        )
        self.audit_findings = Gauge(
            "dezky_audit_verify_findings", "What the last verification of the store found.", registry=self.registry
        )
        self.audit_refused = Gauge(
            "dezky_audit_refused", "1 while the audit log takes no events.", registry=self.registry
        )

        self.webhook_requests = Counter(
            "dezky_audit_webhook_requests",
            "Requests to Stalwart's webhook by what became of them.",
            ["answer"],
            registry=self.registry,
        )
        self.webhook_pending = Gauge(
            "dezky_audit_webhook_pending_bytes",
            "Bodies of Stalwart's webhook that are kept and not parsed yet.",
            registry=self.registry,
        )

    def forget_tenant(self, name: str) -> None:
        """Drop what was measured per tenant; a deleted one would stay on every dashboard for ever."""
        try:
            self.last_sync.remove(name)
        except KeyError:
            return  # it never was in sync
