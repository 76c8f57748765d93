"""The verbs of `reprise_trainer`, one module each: what a person asks of a run's files, inside the image or outside.

In: command lines. Out: lines on standard output, an exit code. Each module has `add`, which declares its arguments, and
`command`, which calls one function and prints. A run inside the image is started without a verb, by `__main__`.
"""
