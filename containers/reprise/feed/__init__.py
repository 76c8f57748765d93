"""A run that starts before its data are here: the snapshot's shards come from a registry while it goes on.

In: where the snapshot's artifact is, how many bytes there is room for. Out: a folder to mount in the image, and a
socket in the launch folder at which the trainer asks for shards. May import: `reprise_trainer`, `reprise.registry`,
`reprise.store`, `reprise.events`.
"""
