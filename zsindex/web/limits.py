"""Limits of the service: requests, bodies, memory, time."""

from __future__ import annotations

import os
from dataclasses import dataclass

from zsindex import config
from zsindex.config import MB


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a service. What goes beyond one is refused with a problem document, and the service goes on.

    Attributes:
        requests_per_s: of one client address, with twice as many at once; 0 for no limit.
        running: requests at work at a time; `waiting` more wait for up to `wait_s`.
        encoding: requests that wait for a model at a time, to be loaded or to encode; they do not count as at work.
        body_bytes, upload_bytes: of a request's body, without and with images.
        buffered_bytes: of all bodies that are being received.
        body_s: to receive a body; `head_s` a request's head; `send_s` for a client to take a part of the answer.
        connections: open at a time.
        upload_pixels: of one image.
        upload_images: in one request.
        decoders: processes that decode uploads; `decode_s` and `decode_bytes` of memory for one image.
        streams: event streams at a time.
        labels, prompts: of one question.
        page: photos of one answer.
        queued_jobs: that wait.
        results_bytes: of memory that kept answers hold: as much again for those of the label lab.
        readers_bytes: of prompts that all who may only read may have cached in an hour. What goes beyond is encoded
            without being kept.
        thumbnail_bytes: on disk.
        slow_running: slow questions, such as those of the label lab, at work at a time; others wait for `slow_wait_s`.
            After `slow_stop_s` those stop that can go on another time.
        slow_kept: their answers that are kept for next pages.
        products: photos times labels times ways to ask, in such a question.
        chosen: photos that were chosen one by one, in one request.
        archives: being sent at a time; `archive_photos` and `archive_bytes` in one.
        places, ways, statements: paths to restrict to, ways to ask, and statements about photos, in one of them.
    """

    requests_per_s: float = 300.0
    running: int = max(16, 4 * (os.cpu_count() or 1))
    waiting: int = 128
    wait_s: float = 10.0
    encoding: int = 24
    body_bytes: int = MB
    upload_bytes: int = 48 * MB
    buffered_bytes: int = 256 * MB
    body_s: float = 60.0
    head_s: float = 10.0
    send_s: float = 30.0
    connections: int = 512
    upload_pixels: int = 89_478_485
    upload_images: int = 16
    decoders: int = 2
    decode_s: float = 20.0
    decode_bytes: int = 1536 * MB
    streams: int = 32
    labels: int = 5_000
    prompts: int = 50_000
    page: int = 2_000
    queued_jobs: int = 16
    results_bytes: int = 128 * MB
    readers_bytes: int = 64 * MB
    thumbnail_bytes: int = config.THUMBNAILS_MB * MB
    slow_running: int = max(1, (os.cpu_count() or 1) // 2)
    slow_wait_s: float = 2.0
    slow_stop_s: float = 60.0
    slow_kept: int = 8
    products: int = 10**9
    chosen: int = 100_000
    archives: int = 2
    archive_photos: int = 10_000
    archive_bytes: int = 4096 * MB
    places: int = 1_000
    ways: int = 16
    statements: int = 50_000
