"""What is sent over Kafka: topics, record types, and their encoding.

`topics` has the names and settings of all topics; `schemas` the JSON of public records, which `codec` turns into shop
events or, with `rejections`, into a sentence for a dead letter. The other modules encode what only workers and trainers
write: pair deltas, rows of neighbours, progress, announcements. No client, no broker: that is streams/kafka.
"""
