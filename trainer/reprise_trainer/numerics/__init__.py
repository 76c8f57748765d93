"""What decides the bits beside the program: profiles of numeric settings, and how a process comes to run under one.

In: a profile's name, this CPU, this process's environment. Out: a process that has its switches, or a refusal.
`profiles`, `cpu` and `enter` use the standard library alone, since they run before the image is measured.
"""
