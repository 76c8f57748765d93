"""Receivers of a run's events beside the terminal: TensorBoard, MLflow, a Prometheus page. Never on the compared path.

In: events (`reprise.events`). Out: what those tools read. Each needs its own extra; imports nothing else of ours.
"""
