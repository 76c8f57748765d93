"""Sources of data → a snapshot folder: read, check, split, compare, write.

In: a `[data]` section and the files that it names. Out: `snapshot.json` and shards, whole or not at all. One module a
format reads rows and nothing else; what a record must be, and which are equal, is judged in one place for all of them.
The core needs the standard library alone; arrays, images, Parquet and Hugging Face's data sets need `reprise[data]`.
Imports `image` (to open a Debian package), `lock` and `store`.
"""
