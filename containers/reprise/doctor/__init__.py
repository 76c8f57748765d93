"""What a machine has of what runs need: each thing looked at or tried, and what to do where it is not there.

Out: findings (ok, warning, problem). Nothing is changed and nothing is guessed: what can be tried is tried, in a
process of its own. May import `reprise.artifacts`, `reprise.lock`, `reprise.registry`, `reprise.store`,
`reprise.stored_image`, `reprise.trust` and `reprise_trainer`.
"""
