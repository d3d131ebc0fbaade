"""The options of the log drivers: read and refused with dockerd's texts; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from naru.spec import jsonread
from naru.spec.containers import ContainerRecord, LogConfig
from naru.spec.errors import InvalidParameter, Unsupported

JSON_FILE: Final = "json-file"
NONE: Final = "none"

_REAL_DRIVERS: Final = frozenset(
    {"awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "journald", "local", "splunk", "syslog"}
)
_JSON_FILE_OPTIONS: Final = frozenset(
    {"max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"}
)
_SIZE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[a-z]*)", re.IGNORECASE)
_UNITS: Final = {unit: 1000**power for power, unit in enumerate("bkmgtp")} | {"": 1}
_TAG_FIELD: Final = re.compile(r"\{\{\s*(?P<field>.*?)\s*\}\}")
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class JsonFileOptions(NamedTuple):
    max_size: int | None = None
    max_files: int = 1
    compress: bool = False


def check(config: LogConfig) -> None:
    """Raise when a container with this configuration could not be started."""
    driver, options = config.type or JSON_FILE, config.config
    if driver == NONE:
        return
    if driver in _REAL_DRIVERS:
        raise Unsupported(f"the log driver {driver} is not supported; json-file and none are")
    if driver != JSON_FILE:
        raise InvalidParameter(f"logger: no log driver named '{driver}' is registered")
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {mode}")
    if mode == "non-blocking":
        raise Unsupported("the log option mode=non-blocking is not supported")
    if "max-buffer-size" in options:
        raise InvalidParameter(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
        )
    for key in options:
        if key not in _JSON_FILE_OPTIONS and key != "mode":
            raise InvalidParameter(f"unknown log opt '{key}' for json-file log driver")
    json_file(options)
    for key in ("labels-regex", "env-regex"):
        _pattern(options.get(key, ""))
    _checked_tag(options.get("tag", ""))


def json_file(options: Mapping[str, str]) -> JsonFileOptions:
    max_size = None
    if "max-size" in options:
        max_size = _human_size(options["max-size"])
        if max_size <= 0:
            raise InvalidParameter("max-size must be a positive number")
    try:
        max_files = int(options.get("max-file", "1"))
    except ValueError:
        raise InvalidParameter(
            f'strconv.Atoi: parsing "{options["max-file"]}": invalid syntax'
        ) from None
    if max_files < 1:
        raise InvalidParameter("max-file cannot be less than 1")
    compress = _boolean(options.get("compress", "false"))
    if compress and (max_files == 1 or max_size is None):
        raise InvalidParameter(
            "compress cannot be true when max-file is less than 2 or max-size is not set"
        )
    return JsonFileOptions(max_size, max_files, compress)


def attributes(container: ContainerRecord) -> bytes:
    """The JSON object that each log line carries because of labels, env and tag; or nothing."""
    options = container.host_config.log_config.config
    found = _selected(container.config.labels, options, "labels")
    environment = dict(each.partition("=")[::2] for each in container.config.env if "=" in each)
    found |= _selected(environment, options, "env")
    if tag := options.get("tag"):
        found["tag"] = _tag(tag, container)
    if not found:
        return b""
    encoded = jsonread.encode(dict(sorted(found.items())))
    for plain, escaped in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        encoded = encoded.replace(plain, escaped)  # as Go's encoder, also inside strings only
    return encoded


def _selected(values: Mapping[str, str], options: Mapping[str, str], option: str) -> dict[str, str]:
    names: Sequence[str] = options.get(option, "").split(",")
    found = {name: values[name] for name in names if name in values}
    if regex := options.get(f"{option}-regex"):
        pattern = _pattern(regex)
        found |= {name: value for name, value in values.items() if pattern.search(name)}
    return found


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidParameter(f"error parsing regexp: {error}: `{text}`") from error


def _tag(template: str, container: ContainerRecord) -> str:
    image_id = container.image_id
    fields = {
        ".ID": container.id[:12],
        ".FullID": container.id,
        ".Name": container.name,
        ".ImageID": image_id.removeprefix("sha256:")[:12],
        ".ImageFullID": image_id,
        ".ImageName": container.config.image,
        ".DaemonName": "docker",
    }
    return _TAG_FIELD.sub(lambda match: fields[match["field"]], template)


def _checked_tag(template: str) -> None:
    known = {".ID", ".FullID", ".Name", ".ImageID", ".ImageFullID", ".ImageName", ".DaemonName"}
    for match in _TAG_FIELD.finditer(template):
        if match["field"] not in known:
            raise Unsupported(f"the log option tag={template}: {match[0]} is not supported")


def _human_size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"invalid size: '{text}'")
    unit = match["unit"].lower()
    if len(unit) > 1:
        unit = unit.removesuffix("b").removesuffix("i")
    if unit not in _UNITS:
        raise InvalidParameter(f"invalid suffix: '{match['unit'].lower()}'")
    return int(float(match["number"]) * _UNITS[unit])


def _boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidParameter(f'strconv.ParseBool: parsing "{text}": invalid syntax')
