"""An OpenFeature provider on the flags of a bucket, in memory. Needs `jetkv[openfeature]`.

client = Client("http://localhost:9123")
api.set_provider_and_wait(JetKVProvider(client.kv().bucket("feature-flags")))
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from jetkv import Bucket
from jetkv.recipes import Flags

__all__ = ["JetKVProvider"]

T = TypeVar("T")
Object = Sequence[FlagValueType] | Mapping[str, FlagValueType]

_LOOK_SECONDS = 0.5
_STALE_SECONDS = 3.0
_JOIN_SECONDS = 2.0
_ABSENT: Any = object()


class JetKVProvider(AbstractProvider):
    """A provider on `jetkv.recipes.Flags`: an evaluation does no I/O and takes microseconds.

    You can rely on:
        - The provider gives what the gateway gives over OFREP for the same flag and context.
        - Changes arrive by themselves, each with the event `PROVIDER_CONFIGURATION_CHANGED`.
        - While the gateway is away, flags keep their last values. The provider is then stale, and
          ready again when it has caught up.
        - If the flags cannot be loaded at the start, the provider is in error and the defaults of
          your calls apply. It goes on trying, and is ready as soon as the flags are loaded.

    Args:
        bucket: a bucket of a `Client`, of any type. The values are flags (docs/recipes.md).
        filter: a filter as in `bucket.keys`; None for all keys.
        timeout: seconds to wait at the start for a gateway that does not answer.

    Raises:
        InvalidArgumentError: `bucket` is not a bucket of a `Client`, or `filter` is not text.
    """

    def __init__(
        self, bucket: Bucket[Any], *, filter: str | None = None, timeout: float = 5.0
    ) -> None:
        super().__init__()
        self._bucket = bucket
        self._filter = filter
        self._timeout = timeout
        self._flags = self._new_flags()
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None

    def get_metadata(self) -> Metadata:
        return Metadata("jetkv")

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - the interface has it
        """Load the flags.

        Raises:
            ProviderNotReadyError: they cannot be loaded now; loading continues.
        """
        self.shutdown()
        self._closing = threading.Event()
        self._flags = self._new_flags()
        self._flags.start(self._timeout)
        ready = self._flags.ready
        self._watcher = threading.Thread(
            target=self._report,
            args=(self._flags, self._closing, ready),
            name="jetkv flags of OpenFeature",
            daemon=True,
        )
        self._watcher.start()
        if not ready:
            raise ProviderNotReadyError(
                f"the flags of bucket {self._bucket.name!r} cannot be loaded; the log says why"
            )

    def shutdown(self) -> None:
        """Stop following the flags. The client of the bucket stays open."""
        self._closing.set()
        self._flags.close()
        watcher, self._watcher = self._watcher, None
        # A handler of an event may be what shuts this down.
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join(_JOIN_SECONDS)

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, default_value, evaluation_context, bool)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, default_value, evaluation_context, str)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, default_value, evaluation_context, int)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        details = self._resolve(flag_key, default_value, evaluation_context, float, int)
        if details.error_code is None:
            details.value = float(details.value)
        return details

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Object,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Object]:
        return self._resolve(flag_key, default_value, evaluation_context, dict, list)

    def _resolve(
        self, name: str, default: T, context: EvaluationContext | None, *types: type
    ) -> FlagResolutionDetails[T]:
        user = None if context is None else context.targeting_key
        attributes = None if context is None else context.attributes
        found = self._flags.evaluate(name, _ABSENT, user=user, attributes=attributes)
        if found.error_code is not None:
            code, message = ErrorCode(found.error_code.value), found.error_details
            if code is ErrorCode.FLAG_NOT_FOUND and not self._flags.ready:
                code, message = ErrorCode.PROVIDER_NOT_READY, "the flags are not loaded yet"
            return FlagResolutionDetails(default, code, message, Reason.ERROR)
        reason, metadata = Reason(found.reason.value), found.metadata
        if found.value is _ABSENT:
            return FlagResolutionDetails(default, reason=reason, flag_metadata=metadata)
        # In Python, True is an int.
        if type(found.value) not in types:
            return FlagResolutionDetails(
                default,
                ErrorCode.TYPE_MISMATCH,
                f"flag {name!r} is of type {type(found.value).__name__},"
                f" not {' or '.join(kind.__name__ for kind in types)}",
                Reason.ERROR,
            )
        return FlagResolutionDetails(
            found.value, reason=reason, variant=found.variant, flag_metadata=metadata
        )

    def _new_flags(self) -> Flags:
        return Flags(self._bucket, filter=self._filter, on_change=self._changed)

    def _changed(self, name: str, _value: Any) -> None:
        self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=[name]))

    def _report(self, flags: Flags, closing: threading.Event, ready: bool) -> None:
        """Emit an event whenever the flags become current or stale."""
        while not closing.wait(_LOOK_SECONDS):
            stale = flags.stale
            if not ready and stale == 0:
                ready = True
                self.emit_provider_ready(ProviderEventDetails())
            elif ready and stale > _STALE_SECONDS:
                ready = False
                self.emit_provider_stale(
                    ProviderEventDetails(message=f"no answer of the gateway for {stale:.0f} s")
                )
