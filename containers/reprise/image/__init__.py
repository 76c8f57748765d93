"""Artifacts → layers: the code that makes an image's bytes.

In: jobs that name Debian packages, conda packages, wheels or source archives. Out: for each layer a compressed
canonical tar and its file list. `bootstrap` and `build_layers` run on the host's Python; all else runs under the
image's own Python.
Imports the standard library, `zstandard`, and of `reprise_trainer`: canonical, errors, identity.file_list and
identity.inventory. Nothing else, so that nothing else can change a byte.
"""
