"""The table for `thorax-train train classify --refuse`, from the collection's list of pictures that must get no verdict.

    python3 refuse.py DATA xray|ct OUT.csv

DATA holds manifest_reject_formats.csv, whose rows have a path and a split; the folder of a path tells the kind.
"""
import csv
import sys

KINDS = {
    "xray": {"lateral_chest": "not-frontal", "children": "child"},
    "ct": {"chest_ct_soft_tissue_window": "soft-tissue-window"},
}


def main(data, modality, out):
    with open(f"{data}/manifest_reject_formats.csv", newline="") as file, open(out, "w", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["path", "kind", "split"])
        for row in csv.DictReader(file):
            parts = row["path"].split("/")
            if parts[0] == "dicom_formats":
                continue
            folder = parts[1] if parts[0] == "reject" else parts[0]
            rows.writerow([f"{data}/{row['path']}", KINDS[modality].get(folder, "not-a-chest"), row["split"]])


if __name__ == "__main__":
    main(*sys.argv[1:])
