"""URLs of stores without their secrets: logins, and the parameters of signed URLs.

A URL is shown in errors, logs, pages, announcements and by `crosscurrent models`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

MASK = "***"

LEAST = 4
"""Fewest characters of a secret that is masked in a driver's errors: shorter ones occur in any text."""

_AUTHORITY = re.compile(r"[^/?#]*")
_HOST_AND_PORT = re.compile(r"[^:]*(:\d*)?")


def without_secrets(url: str) -> str:
    """A URL as it may be shown: no login, and no values after `?` or `#`.

    Chained ones (`simplecache::s3://...`) are as well. A password that should have been encoded is recognised.

    >>> without_secrets("s3://key:secret@shop/snapshots"), without_secrets("simplecache::s3://key:sec/ret@shop")
    ('s3://shop/snapshots', 'simplecache::s3://shop')
    >>> without_secrets("https://store.example/shop?sig=a1b2c3")
    'https://store.example/shop?***'
    """
    return "::".join(_parted(part)[0] for part in url.split("::"))


def masked(text: str, url: str) -> str:
    """An error of a store's driver without the secrets of the URL."""
    secrets = {secret for part in url.split("::") for secret in _parted(part)[1]}
    secrets |= {unquote(secret) for secret in secrets}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= LEAST:
            text = text.replace(secret, MASK)
    return text


def _parted(url: str) -> tuple[str, set[str]]:
    """A URL as it may be shown, and its secrets."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url, set()
    login, place = _login(rest)
    place, mark, parameters = _cut(place)
    values = (parameter.rpartition("=")[2] for parameter in re.split("[&;#]", parameters))
    secrets = {login, login.partition(":")[2], parameters, *values}
    return f"{scheme}://{place}{mark}{MASK if parameters else ''}", secrets - {""}


def _login(rest: str) -> tuple[str, str]:
    """The login of a URL without its scheme, and what follows it."""
    authority = _AUTHORITY.match(rest)[0]  # type: ignore[index]  # it matches the empty string, too
    if "@" in authority:
        login = authority.rpartition("@")[0]
    elif "@" in rest and not _HOST_AND_PORT.fullmatch(authority):
        login = rest.rpartition("@")[0]  # with a slash that should have been encoded
    else:
        return "", rest
    return login, rest[len(login) + 1 :]


def _cut(place: str) -> tuple[str, str, str]:
    """What stands before the first `?` or `#`, that mark, and the rest."""
    found = re.search("[?#]", place)
    return (place, "", "") if found is None else (place[: found.start()], found[0], place[found.end() :])
