"""Uploads that a killed program has left in a store: parts of objects that nobody sees, and that cost room."""

from __future__ import annotations

from packsort._stores.retries import repeated
from packsort._stores.store import Store


def abort_uploads(store: Store, folder: str) -> int:
    """Abort the uploads under a folder that were not completed, where the store keeps such parts and lists them.

    Args:
        store: The store.
        folder: URL of the folder.

    Returns:
        Number of uploads that were aborted.

    Raises:
        OSError: The store refuses, or does not answer.
    """
    filesystem, path = store.filesystem(folder)
    if not hasattr(filesystem, "call_s3"):
        return 0  # Google and Azure drop such parts by themselves after a week
    bucket, key, _ = filesystem.split_path(path)
    prefix = key.rstrip("/") + "/" if key else ""
    found = repeated(lambda: filesystem.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix))
    uploads = found.get("Uploads", [])
    for upload in uploads:
        facts = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        try:
            filesystem.call_s3("abort_multipart_upload", **facts)
        except FileNotFoundError:  # it has ended meanwhile
            continue
    return len(uploads)
