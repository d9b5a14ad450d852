"""Finished runs become tables, pages and exports. Nothing here knows a model or opens a picture."""
