"""Crosscurrent on Kafka: topics in, topics out, and everything that keeps the two exact.

The log is the truth: an **intake** hands whole batches to **lanes**, a lane's **cursors** skip, apply or read from the
**log** what delivery left out, the **mirror** holds the compacted topics, and the **outbox** lets no position pass
before what it stands for is acknowledged. What is learnt and suggested is decided in `models`, which knows nothing of
any of this. `streams.worker.app` is the one place that joins both worlds, `streams.cli.entry` what a person types.
"""
