"""Objects of object stores: `s3://`, `gs://`, `abfs://`, `hf://` and the other URLs that fsspec knows.

- `urls`: which texts are URLs.
- `paths`: `StorePath`, the path of an object, which answers as `pathlib.Path` does; `listing` is what it knows.
- `store`: what a store can do: list, read a range, put, delete.
- `uploads`: removes what killed uploads have left.
- `retries`: repeats what failed in passing, and tells errors that stay.
- `ranged`, `sequential`: an object as an open file that is read by ranges, or from its beginning to its end.

fsspec is imported when a store is first used, so local paths do not pay for it.
"""

from packsort._stores.paths import StorePath, place, store_path
from packsort._stores.ranged import RangedFile
from packsort._stores.sequential import SequentialFile
from packsort._stores.store import ObjectInfo, Store
from packsort._stores.uploads import abort_uploads
from packsort._stores.urls import is_url

__all__ = [
    "ObjectInfo",
    "RangedFile",
    "SequentialFile",
    "Store",
    "StorePath",
    "abort_uploads",
    "is_url",
    "place",
    "store_path",
]
