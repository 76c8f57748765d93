"""Is this the image that I was told? Measures the running files and process, and recomputes the image digest.

In: the running file system and process, the launch folder. Out: the measured digest, or a refusal that names what
differs. Imports the standard library and `cryptography` alone.
"""
