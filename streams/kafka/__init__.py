"""Access to Kafka: the log, cursors, the group consumer, the producer, global tables and topic administration.

Workers and the trainer use the asyncio side (`log`, `cursor`, `replay`, `group_consumer`, `producer`,
`global_tables`), commands the blocking side (`blocking`, `admin`, `topic_admin`). Both use `connection`, which says why
a broker does not let us in, and `rights`, which says what each process needs there. `memory_log` is a log and a sender
in memory, for tests and benchmarks. Nothing here knows what the records are used for.
"""
