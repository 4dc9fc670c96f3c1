"""Crosscurrent on Kafka: everything between the topics. What is learnt and suggested is decided in `models`.

    errors <- settings, wire <- kafka <- snapshots, lifecycle <- worker, trainer      (`a <- b`: b imports a)
    wire, kafka <- connectors, brokers <- drills, bench <- demo <- cli

`wire` has topics and record types, `kafka` reads and writes them, `snapshots` stores models. A `worker` turns clicks
and purchases into suggestions; a `trainer` learns the sequence model and the order of lists. `connectors` bring data
sets to the topics. `brokers`, `demo`, `drills` and `bench` are for development, `cli` is the command line.
`streams.worker.service` and `streams.trainer.service` join models and Kafka.
"""
