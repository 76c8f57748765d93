"""What an image is made of, for those who ask in the field's own words: a CycloneDX bill of materials.

In: an image's lock and its artifacts in the store. Out: one canonical JSON document, kept beside the image and signed
as an in-toto attestation. May import `reprise.lock`, `reprise.image`, `reprise.trust`, `reprise.store`, and what opens
an image's lock (`reprise.stored_image`, `reprise.build`).
"""
