"""The bench: our worker against a bare stateful Faust echo, and where a microsecond of an event goes.

`events` is what happens in the shop, as bytes; `load` puts it on the broker, at once or at a steady rate; `echo` is the
other side of the comparison; `measure` reads append times and makes figures of them; `contest` runs both sides by
turns; `stopwatch` and `breakdown` time the worker's own code without a broker; `report` shows it all.
"""
