from __future__ import annotations

import traceback

import pytest

from streams.errors import SettingsError, StoreUnreachableError
from streams.settings import Settings
from streams.snapshots.masking import masked, without_secrets
from streams.snapshots.store import SnapshotStore

SECRET = "hunter2-4711"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"s3://key:{SECRET}@shop/snapshots", "s3://shop/snapshots"),
        (f"s3://key:{SECRET}/with/slash@shop/snapshots", "s3://shop/snapshots"),
        (f"s3://key:a?{SECRET}@shop/snapshots", "s3://shop/snapshots"),
        (f"sftp://{SECRET}@host:22/snapshots", "sftp://host:22/snapshots"),
        (f"simplecache::s3://key:{SECRET}@shop/snapshots", "simplecache::s3://shop/snapshots"),
        (f"https://store.example/shop?sv=1&sig={SECRET}", "https://store.example/shop?***"),
        ("hdfs://names:8020/shop@home", "hdfs://names:8020/shop@home"),
        ("s3://shop/snapshots@v2", "s3://shop/snapshots@v2"),
        ("s3://[", "s3://["),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == SnapshotStore(url).url == shown
    assert SECRET not in masked(f"cannot open {url}", url)


def test_a_secret_that_is_encoded_is_found_in_both_forms() -> None:
    text = "refused: s3://key:hun%2Fter2@shop with hun/ter2, or hun%2Fter2"
    assert masked(text, "s3://key:hun%2Fter2@shop") == "refused: s3://***@shop with ***, or ***"


def test_an_error_of_a_driver_that_has_the_secret_is_told_without_it() -> None:
    store = SnapshotStore(f"nothing{SECRET}://key:{SECRET}@shop/snapshots")  # fsspec's error quotes the scheme
    with pytest.raises(StoreUnreachableError, match=r"Protocol not known: nothing\*\*\*") as raised:
        store.versions("sequence")
    printed = "".join(traceback.format_exception(raised.value)).partition("Error: ")[2]
    assert f"//key:{SECRET}" not in printed


def test_settings_do_not_show_the_store() -> None:
    url = f"s3://key:{SECRET}@shop"
    assert SECRET not in repr(Settings(snapshot_store=url)) + str(Settings(snapshot_store=url))
    with pytest.raises(SettingsError, match="--snapshot-store") as raised:
        Settings.load({"snapshot_store": [url]}, {})
    assert SECRET not in str(raised.value)
