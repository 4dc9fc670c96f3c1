"""Brokers for development and tests, each a process that ends with ours, and what differs between kinds of brokers.

`embedded` runs a small Kafka-compatible broker in memory, `kafka` one node of Apache Kafka; both are context managers.
What the embedded one answers wrongly is set right in `embedded_ends` and nowhere else.
"""
