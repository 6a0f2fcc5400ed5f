"""Every metric of the operator, on a registry of its own so that two operators in one process stay apart."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter was made is nobody's question, and doubles the page

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets in seconds; 50 ms is what a call to a system on the same host takes, 30 s the longest timeout."""


class TenantMetrics:
    """How tenants do, and how they are looked after."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.reconciles = counter("dezky_reconcile", "Reconciles by outcome.", ["kind", "outcome"])
        self.reconcile_seconds = histogram(
            "dezky_reconcile_seconds", "How long one reconcile took.", ["kind"], buckets=LATENCY
        )
        self.steps = counter("dezky_steps", "Applied steps by outcome.", ["system", "kind", "verb", "outcome"])
        told = "Fields that another hand changed, when they were put back or first reported."
        self.drift = counter("dezky_drift_detected", told, ["system", "field"])
        self.time_to_ready = histogram(
            "dezky_time_to_ready_seconds",
            "From the creation of a tenant to its first Ready.",
            buckets=(*LATENCY, 60, 300, 3600),
        )
        self.time_to_lockout = histogram(
            "dezky_time_to_lockout_seconds",
            "From the first sight of a suspension to all three systems seen locked.",
            buckets=(*LATENCY, 60, 120, 300, 3600),
        )
        told = "1 for the status a condition has."
        self.condition = gauge("dezky_condition", told, ["kind", "name", "type", "status"])
        told = "When a tenant was last found in sync."
        self.last_sync = gauge("dezky_tenant_last_sync_timestamp_seconds", told, ["name"])
        self.sweeps = counter("dezky_sweeps", "Sweeps over the whole fleet.")
        self.sweep_seconds = gauge("dezky_sweep_seconds", "How long the last sweep over the whole fleet took.")

    def forget_tenant(self, name: str) -> None:
        """Drop what was measured per tenant; a deleted one would stay on every dashboard for ever."""
        try:
            self.last_sync.remove(name)
        except KeyError:
            return  # it never was in sync


class ProcessMetrics:
    """The process between the API server and the three systems."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        told = "Requests to external systems."
        self.requests = counter("dezky_external_requests", told, ["system", "op", "code"])
        self.request_seconds = Histogram(
            "dezky_external_request_seconds",
            "Duration of requests to external systems, waiting for a free slot included.",
            ["system", "op"],
            buckets=LATENCY,
            registry=registry,
        )
        self.kube_writes = counter("dezky_kube_writes", "Writes to the API server.", ["what"])
        self.queue_depth = gauge("dezky_queue_depth", "Keys waiting or delayed in the work queue.")
        self.leader = gauge("dezky_leader", "1 while this process holds the Lease.")
        told = "When the watch last delivered an event."
        self.watch_last_event = gauge("dezky_watch_last_event_timestamp_seconds", told)
        told = "1 while a system that failed again and again is left alone."
        self.circuit_open = gauge("dezky_circuit_open", told, ["system"])
        told = "1 while a system refuses the operator's credential."
        self.credential_refused = gauge("dezky_credential_refused", told, ["system"])


class AuditMetrics:
    """The audit log and its sources."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        told = "Events offered to the audit log, by what became of them."
        self.audit_events = counter("dezky_audit_events", told, ["source", "fate"])
        told = "Events of a source that belong to no tenant; they are in the global timeline."
        self.audit_unattributed = counter("dezky_audit_unattributed_events", told, ["source"])
        told = "Events of the operator that the audit log has not taken yet. Those in memory are lost if it ends now."
        self.audit_waiting = gauge("dezky_audit_waiting", told, ["where"])
        self.audit_refused = gauge("dezky_audit_refused", "1 while the audit log takes no events.")
        self.audit_source_up = gauge("dezky_audit_source_up", "1 while an AuditSource is read.", ["source"])
        told = "When the newest event of an AuditSource happened."
        self.audit_source_last_event = gauge("dezky_audit_source_last_event_timestamp_seconds", told, ["source"])
        told = "From the newest event of an AuditSource to its line in the log."
        self.ingest_lag = gauge("dezky_ingest_lag_seconds", told, ["source"])
        self.audit_unanchored = gauge("dezky_audit_unanchored_events", "Events under no checkpoint yet.")
        told = "How long the oldest event that is under no checkpoint has waited for one."
        self.audit_anchor_lag = gauge("dezky_audit_anchor_lag_seconds", told)
        self.audit_anchored = gauge("dezky_audit_anchored", "1 while every anchor has the newest checkpoint.")
        told = "When everything in the audit log's store was last found as it was signed."
        self.audit_verified = gauge("dezky_audit_verify_last_success_timestamp_seconds", told)
        told = "What the last verification of the store found."
        self.audit_findings = gauge("dezky_audit_verify_findings", told)
        told = "Requests to Stalwart's webhook by what became of them."
        self.webhook_requests = counter("dezky_audit_webhook_requests", told, ["answer"])
        told = "Bodies of Stalwart's webhook that are kept and not parsed yet."
        self.webhook_pending = gauge("dezky_audit_webhook_pending_bytes", told)


class Metrics(TenantMetrics, ProcessMetrics, AuditMetrics):
    """The metrics, by their names on ``/metrics`` without the prefix ``dezky_``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        TenantMetrics.__init__(self, self.registry)
        ProcessMetrics.__init__(self, self.registry)
        AuditMetrics.__init__(self, self.registry)
