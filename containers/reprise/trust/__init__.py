"""Who vouches for what: signing keys, image signatures, delegations and the check of images and run records.

In: the store, keys, a policy, times that the caller gives. Out: bundles (OCI referrers in the store) and reports that
name each rule and whether it holds. Everything works offline. May import `reprise.store` and `reprise_trainer`.
"""
