"""Does a run record hold? Rebuild its image, make its snapshot again, replay the run, and compare.

In: a run record with its delegation, ledger and configuration, a store that holds the image's lock and source,
and a policy.
Out: a report with a verdict ("same bits", "different", "not comparable here") and the first difference of each part.
May import every other part of `reprise` but `reprise.cli`.
"""

from reprise.audit.replay import audit
from reprise.audit.report import AuditReport

__all__ = ["AuditReport", "audit"]
