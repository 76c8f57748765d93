"""Run an image: `namespaces` (no daemon, the default), `docker` or `podman`.

In: an image in the store, a launch folder, a data folder, an empty output folder. Out: the exit code; lines of the run
go to callbacks. An engine proves nothing by itself: the trainer inside measures what it runs on. Imports
`reprise.store` and `reprise_trainer` alone, and the docker SDK in `docker.py`.
"""
