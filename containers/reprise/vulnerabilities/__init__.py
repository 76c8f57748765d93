"""Known vulnerabilities of what is locked: a lock against OSV advisories, or against pip-audit's services.

In: a lock, advisories, a person's list of what to ignore. Out: findings, as a table, JSON or SARIF. A scan that had no
data is an error, never "none found". May import `reprise.lock`, and for an image's lock `reprise.stored_image`.
"""
