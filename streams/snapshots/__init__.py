"""Snapshots of models outside the processes that make and serve them.

`format` encodes them, `store` keeps them in a folder or object store, `archive` carries one in a single file, and
`registry` reads and writes the announcements on the topic `snapshots`. The trainer saves and announces through these;
workers and the command line load through them.
"""
