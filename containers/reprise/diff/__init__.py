"""Two images, or an image and a running root → what differs, whose it is, and what kind of cause it has.

In: image digests in a store, or a folder. Out: findings, each with layer, artifact, path and cause.
The way: `content` reads what a side holds, `owners` tells whose a path is, `causes` looks into two versions of a file,
`compare` puts these together.
May import `engine` (to read layers), `store`, `stored_image`, `image` (layout constants) and `events`.
"""

from reprise.diff.compare import diff_image_and_root, diff_images
from reprise.diff.report import DiffReport, Finding

__all__ = ["DiffReport", "Finding", "diff_image_and_root", "diff_images"]
