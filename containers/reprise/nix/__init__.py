"""Nix as a driver: what runs inside our derivations, and artifacts put into the Nix store.

In: a derivation's job (JSON), or artifacts of the store. Out: one layer, one image (an OCI layout), or store paths.
Nothing here makes bytes: it calls what `reprise build` calls. What runs in a derivation imports the standard library
alone, since any Python may start it. The Nix code beside it is in containers/nix.
"""
