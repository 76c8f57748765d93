"""The run configuration: one readable TOML file, one module a table, checked before anything is loaded.

In: TOML bytes. Out: a `RunConfig`, frozen. Host and trainer read it here; nothing numeric is imported, and no other
folder of this package. The run record holds the file's text as it is.
"""
