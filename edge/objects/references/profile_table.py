"""Writes the table of src/deidentify/profile.rs: which attribute is treated how by the Basic Profile of PS3.15, table E.1-1.

    pip install dicom-anonymizer==2.1.0 pydicom==3.0.2
    python edge/objects/references/profile_table.py            # compares, and ends with 1 when something differs
    python edge/objects/references/profile_table.py --write    # writes the lines anew

The facts (tag and action) are the standard's, edition 2026c, as dicom-anonymizer has extracted them from its web pages; names are
those of pydicom's dictionary. Ranges of groups (curves, overlays) and private attributes are rules in deidentify/mod.rs.
"""

import pathlib
import re
import sys

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as fields
from pydicom.datadict import dictionary_description

CODES = {"D": "D", "Z": "Z", "X": "X", "U": "U", "Z_D": "ZD", "X_Z": "XZ", "X_D": "XD", "X_Z_D": "XZD", "X_Z_U_STAR": "XZU"}
SOURCE = pathlib.Path(__file__).parent.parent / "src/deidentify/profile.rs"

rows = {}
for name, code in CODES.items():
    for tag in getattr(fields, name + "_TAGS"):
        if len(tag) == 2:
            assert tag not in rows, tag
            rows[tag] = code


def described(tag):
    """pydicom's name; attributes that are younger than its dictionary have none."""
    try:
        return dictionary_description(tag)
    except KeyError:
        return ""


lines = [f"    (Tag(0x{g:04X}, 0x{e:04X}), {rows[g, e]}), // {described((g, e))}".removesuffix(" // ") for g, e in sorted(rows)]
text = SOURCE.read_text()
begin = re.search(r"pub\(super\) const TABLE: \[\(Tag, Action\); \d+\] = \[\n", text)
written = f"pub(super) const TABLE: [(Tag, Action); {len(lines)}] = [\n" + "\n".join(lines) + "\n];\n"
made = text[: begin.start()] + written
if "--write" in sys.argv:
    SOURCE.write_text(made)
print(len(lines), "attributes;", "the same" if made == text else "differs")
sys.exit("--write" not in sys.argv and made != text)
