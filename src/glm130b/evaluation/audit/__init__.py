"""Published tables recomputed from their own parts."""

from glm130b.evaluation.audit.document import PAPER, Document, read_document
from glm130b.evaluation.audit.findings import Finding, Status, audit

__all__ = ["PAPER", "Document", "Finding", "Status", "audit", "read_document"]
