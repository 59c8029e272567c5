"""Reads an offline .wandb file: records of wandb's protobuf in the log format of LevelDB, 32 KiB blocks."""

import json
import struct

from wandb.proto import wandb_internal_pb2

BLOCK, HEAD = 32768, 7
WHOLE, FIRST, LAST = 1, 2, 4  # kinds of fragments; 3 lies between the first and the last


def records(path):
    """The protobuf records, joined over blocks."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, parts = HEAD, b""
    while place + HEAD <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEAD:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEAD])
        if kind == 0:
            break
        fragment = data[place + HEAD : place + HEAD + length]
        parts = fragment if kind in (WHOLE, FIRST) else parts + fragment
        place += HEAD + length
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def read(folder):
    """History (a list of rows), config and summary of the one .wandb file below a folder."""
    (path,) = folder.glob("offline-run-*/run-*.wandb")
    history, config, summary = [], {}, {}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            history.append(values(record.history.item))
        elif kind == "config":
            config |= values(record.config.update)
        elif kind == "run":
            config |= values(record.run.config.update)
        elif kind == "summary":
            summary |= values(record.summary.update)
    return history, config, summary


def values(items):
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
