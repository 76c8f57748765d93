"""All that runs inside the image: measure the image, train, and leave a signed record of the run.

In: a launch folder (configuration, image digest and signature, delegation), a snapshot, an empty output folder.
Out: ledger, checkpoints, report and run record. Never imports `reprise`, the host side.
"""

__version__ = "0.1.0"
