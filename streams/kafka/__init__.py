"""Access to Kafka: the log, cursors, the group consumer, the producer, global tables and topic administration.

Workers and the trainer use the asyncio side (`log`, `cursor`, `replay`, `group_consumer`, `producer`,
`global_tables`), commands the blocking side (`blocking`, `admin`, `topic_admin`). Both use `connection`, which says why
a broker refuses a connection, `rights`, which says what each process needs there, and `consumers`, which deliver what a
client cannot parse as `unreadable` records and decompress by bounded `codecs`. `clock`, `contact` and `transactions`
notice clocks that differ, brokers that do not answer, and transactions that stay open. `memory_log` is a log and a
sender in memory, for tests and benchmarks. Nothing here knows what the records are used for.
"""
