"""Why an item is suggested, in figures and in a sentence a shopper could read.

Of the sentences in `models.serving.sources`. Workers write the same into JSON, without objects in between.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from models.serving.sources import SENTENCES
from models.serving.sources.sentence import BRAND, CASES, CATEGORY, COUNT, STRANGER, TITLE, case_number
from models.shop.catalog import Catalog
from models.shop.events import CatalogItem
from models.shop.items import Items


class Reason(TypedDict):
    """Why an item is suggested."""

    source: str
    anchor: NotRequired[str]
    """Item that it is about: of the trigger, the cart or the visit."""
    count: int
    """Plain number of events behind it. Of the sequence model: how often the item was viewed or added to a cart. Of the
    history: in how many baskets the shopper bought it. Of a fallback: in how many baskets it was bought, or if in none,
    the same as of the sequence model."""
    lift: NotRequired[float]
    """How many times as often as by chance the two are bought together, where that can be said."""
    text: str


class ReasonText:
    """Puts reasons into words. Names and titles of anchors are kept until the catalogue changes.

    >>> from models.serving.state import POPULAR
    >>> from models.shop.events import BOUGHT_WITH
    >>> items = Items()
    >>> catalog = Catalog(items)
    >>> catalog.put(CatalogItem("kettle", "Kettle", "Kitchen/Kettles", 30.0))
    >>> texts, mug = ReasonText(items, catalog), CatalogItem("mug", "Mug", "Kitchen/Mugs", 8.0)
    >>> texts.reason(mug, BOUGHT_WITH, anchor=0, count=12, of_views=False, lift=3.5)["text"]
    'Bought together with Kettle in 12 baskets'
    >>> texts.reason(mug, POPULAR, anchor=-1, count=1, of_views=True, lift=float("nan"))
    {'source': 'popularity', 'count': 1, 'text': 'From Mugs: viewed or added to the cart once'}
    """

    def __init__(self, items: Items, catalog: Catalog) -> None:
        self._items = items
        self._catalog = catalog
        self._version = catalog.version
        self._anchors: dict[int, tuple[str, str]] = {}

    def reason(self, item: CatalogItem, code: int, anchor: int, count: int, of_views: bool, lift: float) -> Reason:
        """A reason as it is sent; the arguments after the item are as in `models.serving.explanations.Reasons`."""
        sentence = SENTENCES[code]
        name, title = self._about(anchor) if anchor >= 0 else ("", "")
        fields = {
            TITLE: title,
            CATEGORY: item.category.rpartition("/")[2],
            BRAND: item.brand or "",
            COUNT: str(count),
        }
        pieces = sentence.pieces(CASES[case_number(anchor >= 0, count, of_views, bool(item.brand))])
        text = "".join(fields[piece] if place % 2 else piece for place, piece in enumerate(pieces))
        if anchor < 0:
            return {"source": sentence.source, "count": count, "text": text}
        if lift == lift:  # not NaN
            return {"source": sentence.source, "anchor": name, "count": count, "lift": lift, "text": text}
        return {"source": sentence.source, "anchor": name, "count": count, "text": text}

    def _about(self, anchor: int) -> tuple[str, str]:
        """Id and title of an anchor."""
        if self._version != self._catalog.version:
            self._version = self._catalog.version
            self._anchors.clear()
        about = self._anchors.get(anchor)
        if about is None:
            offer = self._catalog.get(anchor)
            title = offer.title if offer is not None else STRANGER
            self._anchors[anchor] = about = (self._items.name(anchor), title)
        return about
