"""`reprise archive`: everything that a rebuild needs, beside the image."""

from __future__ import annotations

from reprise.cli.options import ImageArgument, JsonOption, StoreOption


def command(
    image: ImageArgument,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put all that a rebuild of IMAGE needs beside it, as one artifact: no index or mirror is needed any more.

    `reprise push` takes it along, and `reprise build --offline --from` builds from it.

    Example: `reprise archive torch-cpu`
    """
    from reprise.archive import archive_image
    from reprise.cli.output import print_document, print_json
    from reprise.store import Store

    opened = Store.open(store, create=False)
    document = archive_image(opened, opened.resolve(image)).as_json()
    print_json(document) if as_json else print_document(document)
