"""Crosscurrent on Kafka: everything between the topics. What is learnt and suggested is decided in `models`.

    errors <- settings, wire <- kafka <- snapshots <- worker, trainer
    wire, kafka <- connectors <- demo, drills, bench <- cli

`wire` has topics and record types, `kafka` reads and writes them, `snapshots` stores models. A `worker` turns clicks
and purchases into suggestions; a `trainer` learns the sequence model and announces snapshots. `connectors` bring data
sets to the topics. `brokers`, `demo`, `drills` and `bench` are for development, `cli` is the command line. Packages
import from left to right along the arrows, never back. `streams.worker.app` joins models and Kafka.
"""
