"""The command line: one module a verb.

In: arguments. Out: text or JSON on stdout, progress on stderr, an exit code. A verb parses, calls one function of the
rest, and prints; it decides nothing. Verbs import what they need when they run, so that each starts quickly.
"""
