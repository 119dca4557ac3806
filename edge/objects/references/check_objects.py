"""Checks the crate's objects with tools that are not ours: dciodvfy (dicom3tools), pydicom and highdicom.

    apt-get install dicom3tools
    pip install highdicom==0.28.2 pydicom==3.0.2
    cargo build --release -p thorax-objects --example make_objects
    python edge/objects/references/check_objects.py target/release/examples/make_objects [FOLDER]

It writes sources with pydicom (a film without frame of reference, an oblique CT slice, an oblique CT series, an enhanced CT), has
`make_objects` make objects of them, and asks:

1. dciodvfy has no error to tell of any object (of sources neither, so that none is inherited).
2. highdicom's `segread` reads the segmentation, and finds each mask, as it was given, by its source's UID and frame: on the same
   pixels; and where there is a frame of reference, pixels have the same coordinates in the patient.
3. highdicom's `srread` reads the report, finds groups and measurements, and the values given.
4. A segmentation that highdicom makes of the same sources and masks has the same values in all that matters (`SAME`).
5. The secondary capture's pixels are those given; names in six character sets are read as they were written.
6. No name, date, UID or private attribute of a de-identified source is left, anywhere in the file, and pixels are the same.

Prints a line for each check, and ends with 1 when one failed. Nothing here is needed to build or test the crate.
"""

import glob
import io
import pathlib
import subprocess
import sys
import tempfile

import highdicom
import numpy
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SAME = [
    "SOPClassUID", "Modality", "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel",
    "PixelRepresentation", "PhotometricInterpretation", "SegmentationType", "SegmentsOverlap", "ImageType", "LossyImageCompression",
    "PresentationLUTShape", "StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "FrameOfReferenceUID",
]
failures = []


def check(name, passed, detail=""):
    print(f"{'ok    ' if passed else 'FAILED'} {name}{'' if passed else f': {detail}'}")
    if not passed:
        failures.append(name)


def base(sop_class, modality, rows, columns):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality, data.SeriesNumber, data.InstanceNumber = modality, 3, 1
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "Secretname^Jane", "SECRET-77", "19610203", "F"
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20210405", "060708", "S1", "ACC-99"
    data.ReferringPhysicianName, data.PatientAge = "Secretdoctor^A", "060Y"
    data.Manufacturer, data.ManufacturerModelName, data.DeviceSerialNumber, data.SoftwareVersions = "M", "MM", "SERIAL-1", "1"
    data.InstitutionName, data.OperatorsName = "Secret Hospital", "Secretoperator"
    data.Rows, data.Columns = rows, columns
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    block = data.private_block(0x0009, "SECRET CREATOR", create=True)
    block.add_new(0x01, "LO", "Secretprivate")
    nested = Dataset()
    nested.ReferencedSOPClassUID, nested.ReferencedSOPInstanceUID = sop_class, generate_uid()
    deeper = nested.private_block(0x0011, "SECRET CREATOR", create=True)
    deeper.add_new(0x01, "PN", "Secretprivate^Deep")
    nested.PurposeOfReferenceCodeSequence = Sequence([code("121314", "DCM", "Localizer")])
    data.ReferencedImageSequence = Sequence([nested])
    pixels = (numpy.arange(rows * columns) * 37 % 4096).astype("<u2")
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    return data


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def film(rows=101, columns=203):
    data = base("1.2.840.10008.5.1.4.1.1.1", "CR", rows, columns)
    data.BodyPartExamined, data.ViewPosition = "CHEST", "PA"
    data.PatientOrientation = ["L", "F"]
    data.ImagerPixelSpacing = [0.2, 0.2]
    data.AcquisitionDate = "20210405"
    return data


# Unit rows and columns, at right angles to each other, no axis along the patient's.
OBLIQUE = [0.96, 0.28, 0.0, -0.168, 0.576, 0.8]
NORMAL = numpy.cross(OBLIQUE[:3], OBLIQUE[3:])


def slices(count, rows=61, columns=77):
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for number in range(count):
        data = base("1.2.840.10008.5.1.4.1.1.2", "CT", rows, columns)
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.PositionReferenceIndicator, data.InstanceNumber, data.BodyPartExamined = "", number + 1, "CHEST"
        data.ImageType, data.PatientPosition, data.KVP, data.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], "HFS", 120, 1
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = -1024, 1, "HU"
        data.ImageOrientationPatient = OBLIQUE
        data.ImagePositionPatient = [round(float(x), 6) for x in numpy.array([-100.5, 20.25, 7]) + 2.5 * number * NORMAL]
        data.PixelSpacing, data.SliceThickness = [0.75, 0.5], 2.5
        made.append(data)
    return made


def enhanced(rows=37, columns=53, frames=4):
    data = base("1.2.840.10008.5.1.4.1.1.2.1", "CT", rows, columns)
    data.FrameOfReferenceUID, data.PositionReferenceIndicator, data.NumberOfFrames = generate_uid(), "", frames
    data.PixelData = data.PixelData * frames
    data.ImageType, data.AcquisitionDateTime = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "20210405060708"
    data.ContentDate, data.ContentTime = "20210405", "060708"
    shared = Dataset()
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = OBLIQUE
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 2.5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number in range(frames):
        group, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [round(float(x), 6) for x in numpy.array([0, 0, 0]) + 2.5 * number * NORMAL]
        content.FrameAcquisitionDateTime = "20210405060708"
        group.PlanePositionSequence, group.FrameContentSequence = Sequence([position]), Sequence([content])
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return data


def save(data, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def dciodvfy(path):
    told = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, encoding="latin-1")
    return told.returncode, [line for line in (told.stdout + told.stderr).splitlines() if line.startswith(("Error", "Abort"))]


def read_mask(path):
    head, rest = path.read_bytes().split(b"\n", 1)
    columns, rows = map(int, head.split()[1:3])
    return numpy.frombuffer(rest, numpy.uint8).reshape(rows, columns) != 0


def check_segmentation(name, folder, sources):
    made = highdicom.seg.segread(folder / "seg.dcm")
    plain = pydicom.dcmread(folder / "seg.dcm")
    frames = plain.pixel_array if plain.NumberOfFrames > 1 else plain.pixel_array[None]
    masks = {path.stem: read_mask(path) for path in folder.glob("*.pgm")}
    labels = [segment.SegmentLabel for segment in plain.SegmentSequence]
    seen, wrong = set(), []
    by_uid = {str(source.SOPInstanceUID): source for source in sources}
    all_empty = not any(mask.any() for mask in masks.values())
    for number, group in enumerate(plain.PerFrameFunctionalGroupsSequence):
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        source = by_uid[image.ReferencedSOPInstanceUID]
        frame = int(image.get("ReferencedFrameNumber", 1))
        label = labels[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        key = f"{label}-{source.SOPInstanceUID}-{frame}"
        seen.add(key)
        if not numpy.array_equal(frames[number] != 0, masks[key]):
            wrong.append(key)
        if "FrameOfReferenceUID" in plain:
            shared = plain.SharedFunctionalGroupsSequence[0]
            place = lambda data, shared, group: (  # noqa: E731
                [*group.PlanePositionSequence[0].ImagePositionPatient, *shared.PlaneOrientationSequence[0].ImageOrientationPatient,
                 *shared.PixelMeasuresSequence[0].PixelSpacing] if "SharedFunctionalGroupsSequence" in data
                else [*data.ImagePositionPatient, *data.ImageOrientationPatient, *data.PixelSpacing])
            own = source.get("PerFrameFunctionalGroupsSequence", [None] * frame)[frame - 1]
            theirs = place(source, source.get("SharedFunctionalGroupsSequence", [None])[0], own)
            if place(plain, shared, group) != theirs or plain.FrameOfReferenceUID != source.FrameOfReferenceUID:
                wrong.append(f"place of {key}")
    check(f"{name}: {len(seen)} frames lie on the pixels and places of their sources", not wrong, wrong)
    left_out = [key for key in masks if key not in seen and (masks[key].any() or all_empty)]
    check(f"{name}: frames are left out only when empty", not left_out and (all_empty or all(masks[key].any() for key in seen)))

    # highdicom finds them by the source's UID.
    uids = [str(source.SOPInstanceUID) for source in sources]
    numbers = [segment.SegmentNumber for segment in plain.SegmentSequence]
    try:
        if len(sources) == 1 and sources[0].get("NumberOfFrames", 1) > 1:
            count = int(sources[0].NumberOfFrames)
            found = made.get_pixels_by_source_frame(uids[0], list(range(1, count + 1)), numbers, assert_missing_frames_are_empty=True)
            want = [[masks[f"{label}-{uids[0]}-{frame}"] for label in labels] for frame in range(1, count + 1)]
        else:
            found = made.get_pixels_by_source_instance(uids, numbers, assert_missing_frames_are_empty=True)
            want = [[masks[f"{label}-{uid}-1"] for label in labels] for uid in uids]
        check(f"{name}: highdicom finds every mask by source", numpy.array_equal(found.transpose(0, 3, 1, 2) != 0, numpy.array(want)))
    except Exception as error:  # noqa: BLE001
        check(f"{name}: highdicom finds every mask by source", False, repr(error))
    described = [made.get_segment_description(number) for number in numbers]
    check(f"{name}: segments are described", [s.segment_label for s in described] == labels
          and all(s.tracking_uid and s.tracking_id for s in described))
    return plain, masks, labels


def compare_with_highdicom(name, plain, masks, labels, sources):
    """highdicom's own segmentation of the same masks."""
    algorithm = highdicom.AlgorithmIdentificationSequence("x", codes.DCM.ArtificialIntelligence, "1")
    kinds = {"Infection": (codes.SCT.MorphologicallyAbnormalStructure, codes.DCM.Opacity)}
    lung = (codes.SCT.AnatomicalStructure, codes.SCT.Lung)
    descriptions = [
        highdicom.seg.SegmentDescription(
            number, label, *kinds.get(label, lung), "AUTOMATIC", algorithm, tracking_uid=highdicom.UID(), tracking_id=label)
        for number, label in enumerate(labels, 1)
    ]
    if len(sources) == 1 and sources[0].get("NumberOfFrames", 1) > 1:
        keys = [(str(sources[0].SOPInstanceUID), frame) for frame in range(1, sources[0].NumberOfFrames + 1)]
    else:
        keys = [(str(source.SOPInstanceUID), 1) for source in sources]
    array = numpy.array([[masks[f"{label}-{uid}-{frame}"] for label in labels] for uid, frame in keys]).transpose(0, 2, 3, 1)
    theirs = highdicom.seg.Segmentation(
        sources, array, "BINARY", descriptions, highdicom.UID(), 1, highdicom.UID(), 1, "M", "MM", "1", "1", omit_empty_frames=True)
    stream = io.BytesIO()
    theirs.save_as(stream)
    stream.seek(0)
    theirs = pydicom.dcmread(stream)
    differ = [key for key in SAME if plain.get(key) != theirs.get(key)]
    check(f"{name}: as highdicom's in {len(SAME)} attributes", not differ, [(k, str(plain.get(k))[:60], str(theirs.get(k))[:60]) for k in differ])

    def shape(data):
        """What ties frames to pictures, and the frames' pixels, by segment, source and frame; and the order of positions."""
        told, order = {}, {}
        shared = data.SharedFunctionalGroupsSequence[0]
        pixels = data.pixel_array.reshape(data.NumberOfFrames, -1)
        for group, frame in zip(data.PerFrameFunctionalGroupsSequence, pixels):
            both = lambda key: group.get(key) or shared.get(key)  # noqa: E731
            image = group.DerivationImageSequence[0].SourceImageSequence[0]
            segment, *position = numpy.atleast_1d(group.FrameContentSequence[0].DimensionIndexValues)
            key = segment, image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")
            order[key[1:]] = position
            told[key] = (
                frame.tobytes(),
                group.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
                image.ReferencedSOPClassUID, image.SpatialLocationsPreserved, image.PurposeOfReferenceCodeSequence[0].CodeValue,
                group.DerivationImageSequence[0].DerivationCodeSequence[0].CodeValue,
                both("PlanePositionSequence") and [*both("PlanePositionSequence")[0].ImagePositionPatient],
                both("PlaneOrientationSequence") and [*both("PlaneOrientationSequence")[0].ImageOrientationPatient],
                both("PixelMeasuresSequence") and [*both("PixelMeasuresSequence")[0].PixelSpacing],
                both("PixelMeasuresSequence") and both("PixelMeasuresSequence")[0].get("SliceThickness"),
            )
        # From which end positions are counted is anybody's choice.
        ordered = sorted(order, key=order.get)
        return told, min(ordered, ordered[::-1])

    ours, others = shape(plain), shape(theirs)
    differ = [(key, ours[0][key][1:], others[0].get(key, [None])[1:]) for key in ours[0] if ours[0][key] != others[0].get(key)]
    check(f"{name}: functional groups and pixels of {len(ours[0])} frames as highdicom's", ours == others, differ[:1] or "order")
    pointers = lambda data: [(i.DimensionIndexPointer, i.FunctionalGroupPointer) for i in data.DimensionIndexSequence]  # noqa: E731
    check(f"{name}: dimensions as highdicom's", pointers(plain) == pointers(theirs))
    references = lambda data: {  # noqa: E731
        (s.SeriesInstanceUID, i.ReferencedSOPInstanceUID) for s in data.ReferencedSeriesSequence for i in s.ReferencedInstanceSequence}
    check(f"{name}: referenced series as highdicom's", references(plain) == references(theirs))


def check_report(name, folder, sources, plain_segmentation, sided, marked):
    report = highdicom.sr.srread(folder / "sr.dcm")
    check(f"{name}: srread gives {type(report).__name__}", isinstance(report, highdicom.sr.Comprehensive3DSR))
    content = report.content
    check(f"{name}: root is 126000", content[0].name == codes.DCM.ImagingMeasurementReport)
    observers = content.get_observer_contexts()
    check(f"{name}: the device observed", len(observers) == 1
          and observers[0].observer_identifying_attributes.serial_number == "BOX-0001")
    group, = content.get_image_measurement_groups()
    measured = {}
    for measurement in group.get_measurements():
        side = ""
        for site in measurement.finding_sites:
            side = site.laterality.meaning if site.laterality else ""
        measured[f"{measurement.name.value} {side}".strip()] = (round(float(measurement.value), 6), measurement.unit.value)
    want = {"PROBABILITY": (0.625, "1"), "ENTROPY": (0.954434, "bit"), "111029": (0.875, "1"), "INVOLVEMENT": (12.5, "%")}
    if sided:
        want |= {"INVOLVEMENT Left": (0.0, "%"), "INVOLVEMENT Right": (25.25, "%")}
    check(f"{name}: {len(want)} measurements", measured == want, measured)
    told = {evaluation.name.value: evaluation.value.value for evaluation in group.get_qualitative_evaluations()}
    check(f"{name}: verdict and reason", (told.get("VERDICT"), told.get("REASON")) == ("REFER", "ABSTAIN_ZONE"), told)
    check(f"{name}: disease", told.get("DISEASE_CODE") == "840539006", told)
    check(f"{name}: tracking", group.tracking_uid and group.tracking_identifier == "Thorax reading")
    texts = {}
    for item in group[0].ContentSequence:
        if item.ValueType == "TEXT":
            texts[item.ConceptNameCodeSequence[0].CodeMeaning] = item.TextValue
    digest = bytes(range(32)).hex()
    check(f"{name}: bundle, hash and sentence", texts.get("Algorithm Name") == "Thorax covid-xray 3"
          and texts.get("Algorithm Parameters") == f"sha256={digest}"
          and texts.get("Comment") == "research use only, not a medical device", texts)
    evidence = {
        i.ReferencedSOPInstanceUID for study in report.CurrentRequestedProcedureEvidenceSequence
        for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    check(f"{name}: evidence", evidence == {plain_segmentation.SOPInstanceUID, *(s.SOPInstanceUID for s in sources)})

    planar = plain_segmentation.NumberOfFrames and len(sources) == 1 and sources[0].get("NumberOfFrames", 1) == 1
    groups = content.get_planar_roi_measurement_groups() if planar else content.get_volumetric_roi_measurement_groups()
    want = {s.TrackingUID: s.SegmentNumber for s in plain_segmentation.SegmentSequence if s.SegmentNumber in marked}
    found = {}
    for region in groups:
        if planar:
            item, = [i for i in region[0].ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121214"]
            check(f"{name}: highdicom finds the frame", region.referenced_segmentation_frame is not None)
        else:
            item, = [i for i in region[0].ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121191"]
            check(f"{name}: highdicom finds the segment", region.referenced_segment is not None)
        item = item.ReferencedSOPSequence[0]
        if planar:
            # A frame is of one segment, and then none may be told (PS3.3, C.17.3.5).
            group = plain_segmentation.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1]
            number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        else:
            number = item.ReferencedSegmentNumber
        references = [(item.ReferencedSOPInstanceUID, number)]
        for uid, number in references:
            if uid == plain_segmentation.SOPInstanceUID:
                found[region.tracking_uid] = number
    check(f"{name}: {len(want)} regions refer to segments", found == want, (found, want))


def check_capture(name, folder, count):
    data = pydicom.dcmread(folder / "sc.dcm")
    want = numpy.array([[(i * 7 + grey) % 256 for i in range(61 * 43 * 3)] for grey in (0, 50, 100)[:count]], numpy.uint8)
    check(f"{name}: pixels of {count} panels", numpy.array_equal(data.pixel_array.reshape(count, -1), want))


def check_deidentified(name, folder, paths):
    key = {}
    for path in paths:
        before, after = pydicom.dcmread(path), pydicom.dcmread(folder / f"deidentified-{path.name}")
        raw = (folder / f"deidentified-{path.name}").read_bytes()
        left = [word for word in (b"ecret", b"SECRET", b"ACC-99", b"SERIAL-1", b"20210405", b"19610203", b"060708", b"060Y") if word in raw]
        uids = [element.value for element in before.iterall() if element.VR == "UI" and not str(element.value).startswith("1.2.840.10008.")]
        left += [uid for uid in uids if str(uid).encode() in raw]
        left += [element.tag for element in after.iterall() if element.tag.is_private]
        check(f"{name} {path.name}: nothing is left", not left, left)
        check(f"{name} {path.name}: pixels are the same", before.PixelData == after.PixelData)
        check(f"{name} {path.name}: says so", after.PatientIdentityRemoved == "YES"
              and after.DeidentificationMethodCodeSequence[0].CodeValue == "113100")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            if keyword in before:
                key.setdefault(before[keyword].value, set()).add(after[keyword].value)
        key.setdefault(before.PatientID, set()).add(after.PatientID)
    check(f"{name}: the same is the same afterwards", all(len(values) == 1 for values in key.values()), key)


def main():
    program = sys.argv[1]
    work = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    sources = work / "sources"
    save(film(), sources / "film.dcm")
    save(film(1, 1), sources / "one_pixel.dcm")
    save(film(5, 3), sources / "tiny.dcm")
    for data in slices(1):
        save(data, sources / "oblique.dcm")
    for number, data in enumerate(slices(7)):
        save(data, sources / "series" / f"{(number * 3) % 7}.dcm")
    save(enhanced(), sources / "enhanced.dcm")
    names = {
        "latin1": (["ISO_IR 100"], "Müller^Jörg"), "utf8": (["ISO_IR 192"], "Wałęsa^हिन्दी"), "turkish": (["ISO_IR 148"], "Yılmaz^Işık"),
        "chinese": (["GB18030"], "王^小东"), "thai": (["ISO_IR 166"], "สมชาย"), "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    }
    for name, (charset, person) in names.items():
        data = film(9, 11)
        data.SpecificCharacterSet, data.PatientName = charset, person
        save(data, sources / f"name_{name}.dcm")

    for path in sorted(sources.rglob("*.dcm")):
        if path.name not in ("enhanced.dcm", "one_pixel.dcm"):
            status, errors = dciodvfy(path)
            check(f"source {path.relative_to(sources)}: dciodvfy", not errors, errors)
    cases = [(path, option) for path in sorted(sources.iterdir()) for option in ([], ["--unsided"], ["--empty"])
             if not option or not path.stem.startswith("name_")]
    for path, option in cases:
        out = work / ("objects" + "".join(option))
        subprocess.run([program, *option, str(out), str(path)], check=True)
        folder = out / path.name
        name = " ".join([path.stem, *option])
        paths = sorted(path.glob("*.dcm")) if path.is_dir() else [path]
        data = [pydicom.dcmread(path) for path in paths]
        for object_name in ("seg", "sr", "sc"):
            status, errors = dciodvfy(folder / f"{object_name}.dcm")
            check(f"{name}: dciodvfy {object_name}", status == 0 and not errors, errors)
            written = pydicom.dcmread(folder / f"{object_name}.dcm")
            check(f"{name}: {object_name} has the patient's name", written.PatientName == data[0].PatientName, written.PatientName)
        plain, masks, labels = check_segmentation(name, folder, data)
        empty = not any(mask.any() for mask in masks.values())
        marked = set() if empty else {
            g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in plain.PerFrameFunctionalGroupsSequence}
        # highdicom writes no character set whose first value is empty, and no frames of one pixel that pydicom could read.
        if path.stem not in ("name_japanese", "one_pixel"):
            compare_with_highdicom(name, plain, masks, labels, data)
        check_report(name, folder, data, plain, "--unsided" not in option, marked)
        check_capture(name, folder, 1 if len(paths) == 1 else 3)
        if not path.stem.startswith("name_"):
            check_deidentified(name, folder, paths)
            for file in glob.glob(str(folder / "deidentified-*.dcm")):
                status, errors = dciodvfy(file)
                inherited = set(dciodvfy(paths[0])[1])
                check(f"{name}: dciodvfy {pathlib.Path(file).name} (no new error)", not set(errors) - inherited, set(errors) - inherited)
    print(f"{len(failures)} failed")
    sys.exit(1 if failures else 0)


main()
