"""Checks that text messages are UTF-8, fragment by fragment (RFC 6455 §8.1)."""

import codecs

from websockets.frames import Frame, Opcode

__all__ = ["Utf8Validator"]

_new_decoder = codecs.getincrementaldecoder("utf-8")


class Utf8Validator:
    """Validates the text messages of one peer. Most peers send none."""

    __slots__ = ("_decoder", "_is_text")

    def __init__(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._is_text = False

    def accepts(self, frame: Frame) -> bool:
        """Return whether a frame is not text, or its text is valid so far.

        Args:
            frame: the next frame of the peer. Control frames are always accepted.
        """
        if frame.opcode is Opcode.TEXT:
            self._is_text = True
            if self._decoder is None:
                self._decoder = _new_decoder()
            self._decoder.reset()
        elif frame.opcode is Opcode.BINARY:
            self._is_text = False
        elif frame.opcode is not Opcode.CONT:
            return True
        if not self._is_text or self._decoder is None:
            return True
        try:
            self._decoder.decode(bytes(frame.data), frame.fin)
        except UnicodeDecodeError:
            return False
        return True
