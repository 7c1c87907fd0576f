"""The types of settings that are more than one plain value."""

import json
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from jetkv_gateway.configuration.bucket_setting import BucketSetting
from jetkv_gateway.configuration.nats_login import addresses
from jetkv_gateway.http.hosts import allowed_host
from jetkv_gateway.jetstream.servers import parse_server
from jetkv_gateway.serving.addresses import TrustedProxies

__all__ = ["Buckets", "Hosts", "NatsUrl", "Origins", "Proxies", "Words", "split_words"]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/A-Z\s]+")


def split_words(value: object) -> object:
    """Split a text at commas and spaces, or read it as JSON. Other values stay as they are."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        return json.loads(value)
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _check_hosts(value: list[str]) -> list[str]:
    return [allowed_host(entry) for entry in value]


def _check_origins(value: list[str]) -> list[str]:
    for origin in value:
        if origin not in ("*", "loopback") and _ORIGIN.fullmatch(origin) is None:
            # A browser sends scheme, host and port in lower case, so other forms never match.
            raise ValueError(f"{origin!r} must be like https://app.example or *")
    return value


def _check_proxies(value: list[str]) -> list[str]:
    TrustedProxies.parse(value)
    return value


def _read_buckets(value: object) -> object:
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith("[") else value.split()
    if isinstance(value, list):
        return [BucketSetting.parse(item) if isinstance(item, str) else item for item in value]
    return value


def _check_addresses(value: str) -> str:
    if not [parse_server(address) for address in addresses(value)]:
        raise ValueError("it names no server")
    return value


Words = Annotated[list[str], NoDecode, BeforeValidator(split_words)]
"""A list; in a variable, commas or spaces separate its items."""

Hosts = Annotated[Words, AfterValidator(_check_hosts)]
Origins = Annotated[Words, AfterValidator(_check_origins)]
Proxies = Annotated[Words, AfterValidator(_check_proxies)]
Buckets = Annotated[list[BucketSetting], NoDecode, BeforeValidator(_read_buckets)]
NatsUrl = Annotated[str, AfterValidator(_check_addresses)]
