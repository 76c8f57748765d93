"""What an image is made of and how, in the field's own words: a CycloneDX bill of materials, SLSA provenance.

In: an image's lock and its artifacts in the store. Out: canonical JSON documents, signed beside the image as in-toto
attestations. May import `reprise.lock`, `reprise.image`, `reprise.trust`, `reprise.store`, and what opens
an image's lock (`reprise.stored_image`, `reprise.build`).
"""
