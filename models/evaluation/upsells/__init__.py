"""Protocol C: which of the allowed upsells of a viewed item the shopper takes in the following days."""
