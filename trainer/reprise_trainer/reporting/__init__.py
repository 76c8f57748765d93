"""What people and launchers read: events while a run goes on, `report.json` and `report.md` at its end.

In: event dictionaries, a run record. Out: lines on standard output, two files. Imports `training.records`.
"""
