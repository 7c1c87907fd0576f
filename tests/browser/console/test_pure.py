"""The modules of the console that neither draw nor ask, run in the browser."""

import base64
import difflib
import hashlib
import json
import random
from typing import Any

import pytest

from jetkv_gateway.kv.keys import encode
from tests.browser.console.conftest import OpenConsole

PIECES = ["=", "3D", "3", "2E", ".", "a", "Z", "-", "/", "_", "é", "😀", " ", "*", "'", "=C3", ":"]


@pytest.fixture
def run(open_console: OpenConsole):
    """Call a function of a module with an argument, and return what it returns."""
    page = open_console()

    def call(module: str, body: str, argument: Any = None) -> Any:
        return page.evaluate(
            "async ([module, body, argument]) => {"
            "  const found = await import(new URL(`console/${module}`, location.origin));"
            "  return CALLS[body](found, argument);"
            "}".replace("CALLS[body]", f"({body})"),
            [module, body, argument],
        )

    return call


def random_lines(rng: random.Random) -> str:
    return "\n".join(rng.choice("abc") for _ in range(rng.randint(0, 9)))


def test_a_diff_gives_back_both_texts_with_as_many_lines_in_common_as_there_are(run) -> None:
    rng = random.Random(7)
    pairs = [[random_lines(rng), random_lines(rng)] for _ in range(2_000)]
    diffs = run("diff.js", "(m, pairs) => pairs.map(([a, b]) => m.diffLines(a, b))", pairs)
    for (before, after), rows in zip(pairs, diffs, strict=True):
        assert "\n".join(row["text"] for row in rows if row["op"] != "+") == before
        assert "\n".join(row["text"] for row in rows if row["op"] != "-") == after
        common = sum(row["op"] == " " for row in rows)
        assert common == longest_common(before.split("\n"), after.split("\n"))


def longest_common(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for one in a:
        before = row
        row = [0]
        for place, other in enumerate(b):
            row.append(before[place] + 1 if one == other else max(row[-1], before[place + 1]))
    return row[-1]


def test_hunks_leave_out_what_is_far_from_a_change_and_nothing_else(run) -> None:
    lines = [str(n) for n in range(100)]
    changed = lines.copy()
    changed[10], changed[90] = "x", "y"
    found = run(
        "diff.js",
        "(m, [a, b]) => m.hunksOf(m.diffLines(a, b))",
        ["\n".join(lines), "\n".join(changed)],
    )
    assert [(hunk["skipped"], len(hunk["rows"])) for hunk in found["hunks"]] == [(7, 8), (73, 8)]
    assert found["after"] == 6
    context = [row["text"] for row in found["hunks"][0]["rows"]]
    expected = list(difflib.unified_diff(lines[:50], changed[:50], n=3, lineterm=""))[3:]
    assert context == [line[1:] for line in expected]


def test_unrelated_texts_of_a_mebibyte_are_compared_in_bounded_time(run) -> None:
    milliseconds = run(
        "diff.js",
        "(m) => { const a = Array.from({length: 1e5}, (_, n) => `a${n}`).join('\\n');"
        " const start = performance.now(); m.diffLines(a, a.replaceAll('a', 'b'));"
        " return performance.now() - start; }",
    )
    assert milliseconds < 5_000


def test_json_is_formatted_without_a_change_of_what_it_says(run) -> None:
    text = '{"n":12345678901234567890,"2":1,"1":1.0,"n":-0,"e":[],"o":{},"s":"\\u00e9 \\"x\\" {}"}'
    found = run("json_text.js", "(m, text) => m.formatJson(text)", text)
    assert found == (
        '{\n  "n": 12345678901234567890,\n  "2": 1,\n  "1": 1.0,\n  "n": -0,\n  "e": [],\n'
        '  "o": {},\n  "s": "\\u00e9 \\"x\\" {}"\n}'
    )


def test_json_that_people_write_is_formatted_as_other_tools_format_it(run) -> None:
    rng = random.Random(3)

    def value(depth: int) -> Any:
        kind = rng.randint(0, 5) if depth < 4 else 0
        if kind < 3:
            return rng.choice([1.5, 'a"\\é', None, True, -1, ""])
        if kind == 3:
            return [value(depth + 1) for _ in range(rng.randint(0, 3))]
        return {f'k"{n}': value(depth + 1) for n in range(rng.randint(0, 3))}

    values = [value(0) for _ in range(500)]
    texts = [json.dumps(one, ensure_ascii=False, indent=rng.choice([None, 1])) for one in values]
    found = run("json_text.js", "(m, texts) => texts.map((text) => m.formatJson(text))", texts)
    assert found == [json.dumps(one, ensure_ascii=False, indent=2) for one in values]


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", "NaN", "[1,]", "01"], ids=range(6))
def test_what_is_not_json_is_not_formatted(run, text: str) -> None:
    assert run("json_text.js", "(m, text) => m.formatJson(text)", text) is None


def test_json_that_is_nested_without_end_is_shown_as_text(run) -> None:
    body = "(m) => m.formatJson('['.repeat(400000) + ']'.repeat(400000))"
    assert run("json_text.js", body) is None


def test_changes_of_json_are_told_by_their_paths(run) -> None:
    before = '{"a":{"b":1,"c":[1,2]},"z":1,"a b":true}'
    after = '{"z":1,"a b":false,"a":{"c":[1,3,4],"b":"x"}}'
    found = run("json_text.js", "(m, [a, b]) => m.jsonChanges(a, b)", [before, after])
    assert [(one["path"], one["before"], one["after"]) for one in found] == [
        ("a.b", "1", '"x"'),
        ("a.c[1]", "2", "3"),
        ("a.c[2]", None, "4"),
        ('["a b"]', "true", "false"),
    ]


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (b'{"a":1}', "json"),
        (b"42", "json"),
        ("grüße".encode(), "text"),
        (b"a\tb\r\n", "text"),
        (b"a\x00b", "bytes"),
        (b"\xff\xfe", "bytes"),
        (b"", "text"),
    ],
    ids=range(7),
)
def test_a_value_is_shown_in_the_shape_that_says_most(run, value: bytes, shape: str) -> None:
    body = "(m, text) => m.describe(m.fromBase64(text)).shape"
    assert run("values.js", body, base64.b64encode(value).decode()) == shape


def test_bytes_survive_base64_and_hexadecimal_digits(run) -> None:
    value = random.Random(1).randbytes(100_001)
    found = run(
        "values.js",
        "(m, text) => { const bytes = m.fromBase64(text);"
        " return [m.toBase64(bytes), m.toBase64(m.fromHex(m.toHex(bytes)))]; }",
        base64.b64encode(value).decode(),
    )
    assert found == [base64.b64encode(value).decode()] * 2


def test_a_dump_has_offsets_bytes_and_letters(run) -> None:
    body = "(m, text) => m.hexDump(m.fromBase64(text))"
    found = run("values.js", body, base64.b64encode(b"hello\x00 world, 16+").decode())
    assert found.split("\n") == [
        "00000000  68 65 6c 6c 6f 00 20 77  6f 72 6c 64 2c 20 31 36  hello· world, 16",
        "00000010  2b" + 48 * " " + "+",
    ]


def test_blocks_of_a_text_lose_nothing(run) -> None:
    text = "x" * 50 + "\n" + "ab\n" * 30 + "😀" * 40 + "\n\nend"
    blocks = run("values.js", "(m, text) => m.blocksOf(text, 16)", text)
    place = 0
    for block in blocks:
        place += text[place] == "\n" and not text.startswith(block, place)
        assert text.startswith(block, place)
        place += len(block)
    assert place == len(text)
    assert max(map(len, blocks)) <= 16


def test_the_checksum_of_parts_is_sha256(run) -> None:
    rng = random.Random(5)
    texts = [rng.randbytes(size) for size in [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]]
    found = run(
        "sha256.js",
        "(m, texts) => texts.map((text) => { const bytes = Uint8Array.from(atob(text), (c) =>"
        " c.charCodeAt(0)); const cut = bytes.length >> 1;"
        " const sum = new m.Sha256().update(bytes.subarray(0, cut));"
        " return sum.update(bytes.subarray(cut)).digest(); })",
        [base64.b64encode(text).decode() for text in texts],
    )
    assert found == [hashlib.sha256(text).hexdigest() for text in texts]


def test_a_key_has_the_name_in_nats_that_the_gateway_gives_it(run) -> None:
    rng = random.Random(2)
    keys = ["".join(rng.choices(PIECES, k=rng.randint(1, 9))) for _ in range(3_000)]
    found = run("copy_as.js", "(m, keys) => keys.map(m.natsKey)", keys)
    assert found == [encode(key) for key in keys]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1h30m", 5400), ("7 d", 604_800), ("2H", 7200), ("", None), ("5x", None)],
    ids=range(6),
)
def test_spans_of_time_are_read_as_the_command_line_reads_them(
    run, text: str, seconds: int | None
) -> None:
    assert run("durations.js", "(m, text) => m.parseDuration(text)", text) == seconds


def test_sizes_are_read_with_and_without_a_unit(run) -> None:
    texts = ["1024", "64k", "1.5 GiB", "2 MB", "x"]
    found = run("durations.js", "(m, texts) => texts.map(m.parseSize)", texts)
    assert found == [1024, 65_536, 1_610_612_736, 2_097_152, None]
