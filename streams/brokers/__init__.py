"""Brokers for development and tests, each a child process that ends with us.

`embedded` runs a small Kafka-compatible broker in memory, `kafka` one node of Apache Kafka; `broker` is their common
base, a context manager. Answers of the embedded broker that differ from Apache Kafka's are corrected in
`streams/kafka/embedded_ends.py` only.
"""
