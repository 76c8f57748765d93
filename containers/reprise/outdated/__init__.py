"""How old what is locked is, and what newer versions there are, by the machine's own clients.

In: a lock, and where its environment looks for packages. Out: one row a package, and which places did not answer. May
import `reprise.lock`, `reprise.artifacts`, `reprise.store`, and the versions' orders of `reprise.vulnerabilities`.
"""
