"""The examples of docs/protocol.md and tests/vectors/frames.json, read by another implementation of MessagePack and JSON."""

import json
import re
import unittest

from dialects import CODES, FRAMES, KINDS, LENGTHS, OPCODES, REASONS, Json, Msgpack
from server import ROOT

DOCUMENT = (ROOT / "docs/protocol.md").read_text()
VECTORS = json.loads((ROOT / "tests/vectors/frames.json").read_text())


def examples():
    """Every pair of bytes and JSON in the document, with the name of the frame that it stands under."""
    found = []
    for name, block in re.findall(r"<!-- examples of (\w+) -->\n```text\n(.*?)```\n<!-- end -->", DOCUMENT, re.DOTALL):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        found += [(name, bytes.fromhex(packed), text) for packed, text in zip(lines[::2], lines[1::2], strict=True)]
    return found


def rows(*cells, document=DOCUMENT):
    """The rows of the document's tables whose first cells match these patterns."""
    pattern = r" \| ".join(cells)
    return re.findall(rf"^\| {pattern} \|", document, re.MULTILINE)


class Vectors(unittest.TestCase):
    def check(self, packed, text):
        frame = Json.decode(text)
        self.assertEqual(Msgpack.decode(packed), frame, "the bytes say something else than the JSON")
        self.assertEqual(Msgpack.encode(frame).hex(), packed.hex())
        self.assertEqual(Json.encode(frame).decode(), text)
        self.assertLessEqual(len(frame), LENGTHS[frame[0]])
        return frame

    def test_every_vector_is_the_same_frame_in_both_dialects(self):
        for vector in VECTORS:
            with self.subTest(vector["name"]):
                self.check(bytes.fromhex(vector["msgpack"]), vector["json"])

    def test_every_example_of_the_document_is_the_same_frame_in_both_dialects(self):
        for name, packed, text in examples():
            with self.subTest(text):
                self.assertEqual(self.check(packed, text)[0], name)

    def test_the_examples_are_the_vectors(self):
        vectors = {(vector["msgpack"], vector["json"]) for vector in VECTORS}
        self.assertEqual({(packed.hex(), text) for _, packed, text in examples()}, vectors)

    def test_every_frame_that_is_sent_has_an_example(self):
        self.assertEqual({name for name, _, _ in examples()}, OPCODES.keys())


class Tables(unittest.TestCase):
    def test_this_client_has_the_opcodes_of_the_document(self):
        listed = {int(opcode, 16): name for opcode, name in rows(r"0x(\w\w)", r"`(\w+)`")}
        self.assertEqual(listed, {opcode: name for opcode, (name, _) in FRAMES.items()})

    def test_this_client_has_the_elements_of_the_document(self):
        for name, elements in rows(r"0x\w\w", r"`(\w+)`", r"\w+", r"([^|]*)"):
            self.assertEqual(elements.count(",") + 2, LENGTHS[name], name)

    def test_this_client_has_the_kinds_of_the_document(self):
        section = DOCUMENT[DOCUMENT.index("## 6. Event kinds") : DOCUMENT.index("## 7. Resuming")]
        self.assertEqual([(int(number), name) for number, name in rows(r"(\d)", r"`([\w.]+)`", document=section)], list(enumerate(KINDS)))

    def test_this_client_has_the_reasons_of_the_document(self):
        section = DOCUMENT[DOCUMENT.index("### gap") : DOCUMENT.index("### error")]
        self.assertEqual({name: int(number) for number, name in rows(r"(\d)", r"`(\w+)`", document=section)}, REASONS)

    def test_this_client_has_the_codes_of_the_document(self):
        self.assertEqual({name: int(code) for code, name in rows(r"(4\d{3})", r"`(\w+)`")}, CODES)
