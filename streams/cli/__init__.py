"""The command line: `crosscurrent SUBCOMMAND`, one module per subcommand, registered in `entry`.

`options` has the flags that commands share, `printing` and the `..._view` modules write to terminals and pipes.
`docs` generates docs/events.md, docs/asyncapi.yaml and docs/settings.md. The top room of streams/: nothing imports it
but `streams.__main__`.
"""
