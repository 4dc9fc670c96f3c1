"""Snapshots of models outside the processes that make and serve them.

`format` encodes them, `store` keeps them in a folder or object store, `archive` carries one in a single file, and
`registry` reads and writes announcements for `crosscurrent models`. The trainer saves to the store and workers load
from it; both take announcements from the global tables. `masking` removes secrets from a store's URL.
"""
